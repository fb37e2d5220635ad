"""Say which version is faster than which, at which batch and length, and what the bytes allow."""

import pandas as pd

from kvbench import tables, verdicts
from kvbench.job import logged
from kvbench.records import provenance, read_cells
from kvbench.store import read_record, write_record

with logged(snakemake.log[0]):
    cells = read_cells(snakemake.input.cells)
    controls = [read_record(path) for path in snakemake.input.controls]
    record = verdicts.judge(cells, snakemake.params.margin, *controls)
    write_record(snakemake.output.record, record)
    tables.publish(
        f"Verdicts on {record['pretrained']}",
        pd.DataFrame(record["rows"]),
        [*verdicts.notes(record), provenance(cells)],
        snakemake.output.md,
        snakemake.output.csv,
    )
