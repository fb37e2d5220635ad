"""Clean Wikipedia articles of their markup and split them by whole articles."""

from pathlib import Path
from typing import TYPE_CHECKING

from kvbench import wiki
from kvbench.job import logged
from kvbench.store import write_text

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    articles = wiki.dump_articles(Path(snakemake.input.dump))
    extracts = wiki.extract_articles(Path(snakemake.input.extracts))
    for split, text in wiki.split_articles(articles, extracts).items():
        write_text(snakemake.output[split], text)
