"""Draw one figure, as SVG and PNG, from the cells it shows."""

from importlib import import_module

from kvbench.figures import style
from kvbench.job import logged
from kvbench.records import read_cells

with logged(snakemake.log[0], snakemake.input.code):
    family = import_module(f"kvbench.figures.{snakemake.wildcards.figure}")
    style.save(family.draw(read_cells(snakemake.input.cells)), *snakemake.output)
