"""Compare this study with an earlier or published results.jsonl."""

from kvbench import gate, tables
from kvbench.job import logged
from kvbench.records import read_cells
from kvbench.store import write_record

with logged(snakemake.log[0]):
    settings, paths = snakemake.params.settings, snakemake.input.cells
    now = [(path, *read_cells([path])) for path in paths]
    record = gate.against(now, gate.read_lines(snakemake.input.baseline), **settings)
    write_record(snakemake.output.record, record)
    tables.publish(
        f"This study against {snakemake.input.baseline}",
        record["rows"],
        gate.notes(record),
        snakemake.output.md,
        snakemake.output.csv,
    )
