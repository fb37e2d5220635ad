"""Draw one figure, as SVG and PNG, from the cells it shows."""

from importlib import import_module

from kvbench.job.log import logged
from kvbench.records.read import read_cells
from kvbench.report.figures import style

with logged(snakemake.log[0], snakemake.input.code):
    family = import_module(f"kvbench.report.figures.{snakemake.wildcards.figure}")
    style.save(family.draw(read_cells(snakemake.input.cells)), *snakemake.output)
