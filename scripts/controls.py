"""Say whether v1 against itself shows no difference, and whether a known delay shows as one."""

from kvbench import tables, verdicts
from kvbench.job import logged
from kvbench.records import provenance, read_cells
from kvbench.store import write_record

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
