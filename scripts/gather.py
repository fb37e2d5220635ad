"""Gather the cells of one benchmark and preset, as lines."""

from kvbench.job.log import logged
from kvbench.records.gather import gather

with logged(snakemake.log[0], snakemake.input.code):
    gather(snakemake.input.cells, snakemake.output[0])
