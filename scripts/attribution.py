"""Split the time per token into what bytes, FLOP and dispatch take, and the rest."""

from kvbench.analysis import attribution
from kvbench.job.log import logged
from kvbench.records.read import apart, provenance, read_cells
from kvbench.report import tables

with logged(snakemake.log[0], snakemake.input.code):
    asked = snakemake.input
    records, (roofs,) = apart(read_cells([*asked.cells, *asked.dispatch, asked.roofs]), "roofs")
    cells, dispatch = apart(records, "dispatch")
    tables.publish(
        f"Where the time per token of {cells[0]['pretrained']} goes",
        attribution.rows(cells, dispatch, roofs),
        [*attribution.notes(roofs), provenance(cells)],
        snakemake.output.md,
        snakemake.output.csv,
    )
