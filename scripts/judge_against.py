"""Compare this study with an earlier or published results.jsonl."""

from kvbench import gate, tables
from kvbench.job import logged
from kvbench.records import each_cell
from kvbench.store import write_record

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
