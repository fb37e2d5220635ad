"""Fetch one file of a model of the hub at a commit."""

from kvbench.inputs.hub import fetch
from kvbench.job.log import logged

with logged(snakemake.log[0], snakemake.input.code):
    about = snakemake.params.hub
    fetch(about["repository"], about["commit"], snakemake.wildcards.file, snakemake.output[0])
