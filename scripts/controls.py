"""Say whether v1 against itself shows no difference, and whether a known delay shows as one."""

from kvbench.analysis import verdicts
from kvbench.job.log import logged
from kvbench.records.read import provenance, read_cells
from kvbench.records.store import write_record
from kvbench.report import tables

with logged(snakemake.log[0], snakemake.input.code):
    cells = read_cells(snakemake.input.cells)
    record = verdicts.judge_controls(cells, snakemake.params.margin)
    write_record(snakemake.output.record, record)
    tables.publish(
        f"Controls on {record['pretrained']}",
        record["rows"],
        [*verdicts.notes(record), provenance(cells)],
        snakemake.output.md,
        snakemake.output.csv,
    )
