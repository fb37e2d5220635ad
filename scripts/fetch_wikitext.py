"""Fetch one split of WikiText-2 raw from the data hub."""

from kvbench.files import write_text
from kvbench.inputs.tokens import wikitext_split
from kvbench.job.log import logged

with logged(snakemake.log[0], snakemake.input.code):
    write_text(snakemake.output[0], wikitext_split(snakemake.wildcards.split))
