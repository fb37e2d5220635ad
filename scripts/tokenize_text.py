"""Tokenise one text with GPT-2's byte-pair merges, or the first 8,192 of its vocabulary."""

from pathlib import Path

from kvbench.job import logged
from kvbench.text import load_encoding, tokenize, write_tokens

with logged(snakemake.log[0]):
    encoding = load_encoding(Path(snakemake.input.ranks), snakemake.wildcards.tokenizer)
    tokens = tokenize(Path(snakemake.input.text).read_text("utf-8"), encoding)
    print(f"{len(tokens.tokens)} tokens")
    write_tokens(snakemake.output[0], tokens)
