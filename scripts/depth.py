"""Fit the time per token over depth: slope, intercept, and break-even against v1."""

import pandas as pd

from kvbench import depth, tables
from kvbench.job import logged
from kvbench.records import provenance, read_cells
from kvbench.store import read_record

with logged(snakemake.log[0]):
    cells = read_cells(snakemake.input.cells)
    roofs = next((read_record(path) for path in snakemake.input.roofs), None)
    tables.publish(
        f"Time per token against depth of {cells[0]['pretrained']}",
        pd.DataFrame(depth.rows(cells, roofs)),
        [*depth.notes(roofs), provenance(cells)],
        snakemake.output.md,
        snakemake.output.csv,
    )
