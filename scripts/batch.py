"""Fit the time per token over batch: slope, intercept, and break-even against v1."""

from kvbench.analysis import scaling as depth
from kvbench.job.log import logged
from kvbench.records.read import apart, provenance, read_cells
from kvbench.report import tables

with logged(snakemake.log[0], snakemake.input.code):
    records = read_cells([*snakemake.input.cells, *snakemake.input.roofs])
    cells, own = apart(records, "roofs")
    roofs = next(iter(own), None)
    tables.publish(
        f"Time per token against batch of {cells[0]['pretrained']}",
        depth.batch_rows(cells, roofs),
        [*depth.notes(roofs, "batch_size"), provenance(cells)],
        snakemake.output.md,
        snakemake.output.csv,
    )
