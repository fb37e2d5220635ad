"""Tokenise one text with a model's byte-pair merges."""

from pathlib import Path

from kvbench.inputs.tokens import load_encoding, tokenize, write_tokens
from kvbench.inputs.wheel import verify
from kvbench.job.log import logged
from kvbench.placeholder import passed_on

with logged(snakemake.log[0], snakemake.input.code), passed_on(snakemake.output[0]):
    ranks = verify(snakemake.input.ranks, snakemake.params.entries)
    encoding = load_encoding(ranks, snakemake.wildcards.tokenizer)
    tokens = tokenize(Path(snakemake.input.text).read_text("utf-8"), encoding)
    print(f"{len(tokens.tokens)} tokens")
    write_tokens(snakemake.output[0], tokens)
