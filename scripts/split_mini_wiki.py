"""Clean Wikipedia articles of their markup and split them by whole articles."""

from pathlib import Path

from kvbench import wiki
from kvbench.job import logged
from kvbench.store import write_text

with logged(snakemake.log[0]):
    articles = wiki.dump_articles(Path(snakemake.input.dump))
    extracts = wiki.extract_articles(Path(snakemake.input.extracts))
    for split, text in wiki.split_articles(articles, extracts).items():
        write_text(snakemake.output[split], text)
