"""Fetch one split of WikiText-2 raw from the data hub."""

from typing import TYPE_CHECKING

from kvbench.job import logged
from kvbench.store import write_text
from kvbench.text import wikitext_split

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    write_text(snakemake.output[0], wikitext_split(snakemake.wildcards.split))
