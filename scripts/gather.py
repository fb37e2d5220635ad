"""Gather records as lines: of one benchmark and preset with the file of each, or of the study."""

from kvbench.job.log import logged
from kvbench.records.gather import gather

with logged(snakemake.log[0], snakemake.input.code):
    gather(snakemake.input.cells, snakemake.output[0], named=snakemake.params.named)
