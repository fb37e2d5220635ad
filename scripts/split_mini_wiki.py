"""Clean Wikipedia articles of their markup and split them by whole articles."""

from kvbench import wiki
from kvbench.fetch import verify
from kvbench.job import logged
from kvbench.store import write_text

with logged(snakemake.log[0]):
    raw = (snakemake.input.dump, snakemake.input.extracts)
    dump, extracts = map(verify, raw, snakemake.params.sha256)
    articles = wiki.dump_articles(dump), wiki.extract_articles(extracts)
    for split, text in wiki.split_articles(*articles).items():
        write_text(snakemake.output[split], text)
