"""Say which version is faster than which, at which batch and length, and what the bytes allow."""

from kvbench.analysis import verdicts
from kvbench.job.log import logged
from kvbench.records.read import apart, provenance, read_cells
from kvbench.records.store import write_record
from kvbench.report import tables

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
