"""Gather the cells of one benchmark and preset, as lines."""

from kvbench.gather import gather
from kvbench.job import logged

with logged(snakemake.log[0], snakemake.input.code):
    gather(snakemake.input.cells, snakemake.output[0])
