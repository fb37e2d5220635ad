"""Compare this study with an earlier or published results.jsonl."""

from kvbench.analysis import regression as gate
from kvbench.job.log import logged
from kvbench.records.read import each_cell
from kvbench.records.store import write_record
from kvbench.report import tables

with logged(snakemake.log[0], snakemake.input.code):
    now, before = each_cell(snakemake.input.cells), gate.read_lines(snakemake.input.baseline)
    record = gate.against(now, before, **snakemake.params.settings)
    write_record(snakemake.output.record, record)
    tables.publish(
        f"This study against {snakemake.input.baseline}",
        record["rows"],
        gate.notes(record),
        snakemake.output.md,
        snakemake.output.csv,
    )
