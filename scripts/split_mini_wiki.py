"""Clean Wikipedia articles of their markup and split them by whole articles."""

from kvbench.files import write_text
from kvbench.inputs import wiki
from kvbench.inputs.wheel import verify
from kvbench.job.log import logged

with logged(snakemake.log[0], snakemake.input.code):
    entries = snakemake.params.entries
    articles = wiki.dump_articles(verify(snakemake.input.dump, entries))
    extracts = wiki.extract_articles(verify(snakemake.input.extracts, entries))
    for split, text in wiki.split_articles(articles, extracts).items():
        write_text(snakemake.output[split], text)
