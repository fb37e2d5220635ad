"""Compare what stands beside the versions: peers with v1, or executions with eager torch."""

from kvbench.analysis import runners as beside
from kvbench.job.log import logged
from kvbench.records.read import read_cells

with logged(snakemake.log[0], snakemake.input.code):
    records = read_cells(snakemake.input.cells)
    beside.write(snakemake.params.kind, records, snakemake.output.md, snakemake.output.csv)
