"""Say which version is faster than which, at which batch and length, and what the bytes allow."""

from kvbench import tables, verdicts
from kvbench.job import logged
from kvbench.records import apart, provenance, read_cells
from kvbench.store import write_record

with logged(snakemake.log[0], snakemake.input.code):
    records = read_cells([*snakemake.input.cells, *snakemake.input.controls])
    cells, controls = apart(records, "controls")
    record = verdicts.judge(cells, snakemake.params.margin, *controls)
    write_record(snakemake.output.record, record)
    tables.publish(
        f"Verdicts on {record['pretrained']}",
        record["rows"],
        [*verdicts.notes(record), provenance(cells)],
        snakemake.output.md,
        snakemake.output.csv,
    )
