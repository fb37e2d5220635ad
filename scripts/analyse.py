"""Work one table out of records, and the record behind it where something reads that again."""

from importlib import import_module

from kvbench.job.log import logged
from kvbench.records.read import read_cells
from kvbench.records.store import write_record
from kvbench.report.tables import publish

with logged(snakemake.log[0], snakemake.input.code):
    analysis, output = dict(snakemake.params.analysis), snakemake.output
    module, function = analysis.pop("module"), analysis.pop("function", "table")
    paths = [path for path in snakemake.input if path != snakemake.input.code]
    table = getattr(import_module(module), function)(read_cells(paths), **analysis)
    if output.get("record"):
        write_record(output.record, table.record)
    publish(table, output.md, output.csv)
