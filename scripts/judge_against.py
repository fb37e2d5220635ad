"""Compare this study with an earlier or published results.jsonl."""

from kvbench.analysis import regression
from kvbench.job.log import logged
from kvbench.records.read import each_cell
from kvbench.records.store import write_record
from kvbench.report.tables import publish

with logged(snakemake.log[0], snakemake.input.code):
    cells, baseline = each_cell(snakemake.input.cells), snakemake.input.baseline
    table = regression.table(cells, baseline, **snakemake.params.settings)
    write_record(snakemake.output.record, table.record)
    publish(table, snakemake.output.md, snakemake.output.csv)
