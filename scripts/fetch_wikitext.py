"""Fetch one split of WikiText-2 raw from the data hub."""

from kvbench.job import logged
from kvbench.store import write_text
from kvbench.text import wikitext_split

with logged(snakemake.log[0], snakemake.input.code):
    write_text(snakemake.output[0], wikitext_split(snakemake.wildcards.split))
