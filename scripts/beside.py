"""Compare what stands beside the versions: peers with v1, or executions with eager torch."""

from kvbench import beside
from kvbench.job import logged
from kvbench.records import read_cells

with logged(snakemake.log[0], snakemake.input.code):
    records = read_cells(snakemake.input.cells)
    beside.write(snakemake.params.kind, records, snakemake.output.md, snakemake.output.csv)
