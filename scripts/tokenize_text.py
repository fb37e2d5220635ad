"""Tokenise one text with a model's byte-pair merges."""

from kvbench.inputs.tokens import load_encoding, read_text, tokenize, write_tokens
from kvbench.inputs.wheel import verify
from kvbench.job.log import logged
from kvbench.placeholder import passed_on

with logged(snakemake.log[0], snakemake.input.code), passed_on(snakemake.output[0]):
    ranks = verify(snakemake.input.ranks, snakemake.params.entries)
    encoding = load_encoding(ranks, snakemake.wildcards.tokenizer)
    tokens = tokenize(read_text(snakemake.input.text), encoding)
    print(f"{len(tokens.tokens)} tokens")
    write_tokens(snakemake.output[0], tokens)
