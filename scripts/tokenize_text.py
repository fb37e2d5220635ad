"""Tokenise one text with a model's byte-pair merges."""

from pathlib import Path

from kvbench.fetch import verify
from kvbench.job import logged
from kvbench.text import load_encoding, tokenize, write_tokens
from kvbench.unavailable import passed_on

with logged(snakemake.log[0], snakemake.input.code), passed_on(snakemake.output[0]):
    ranks = verify(snakemake.input.ranks, snakemake.params.entries)
    encoding = load_encoding(ranks, snakemake.wildcards.tokenizer)
    tokens = tokenize(Path(snakemake.input.text).read_text("utf-8"), encoding)
    print(f"{len(tokens.tokens)} tokens")
    write_tokens(snakemake.output[0], tokens)
