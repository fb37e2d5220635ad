"""Tokenise one text with a model's byte-pair merges, or with the tokenizer of its directory."""

from kvbench.files.placeholder import passed_on
from kvbench.inputs.model_tokenizer import tokenize_as_model
from kvbench.inputs.tokens import load_encoding, read_text, tokenize, write_tokens
from kvbench.inputs.vocabularies import VOCABULARIES
from kvbench.inputs.wheel import verify
from kvbench.job.log import logged

with logged(snakemake.log[0], snakemake.input.code), passed_on(snakemake.output[0]):
    name, text = snakemake.wildcards.tokenizer, read_text(snakemake.input.text)
    if name in VOCABULARIES:
        ranks = verify(snakemake.input.ranks, snakemake.params.entries)
        tokens = tokenize(text, load_encoding(ranks, name))
    else:
        tokens = tokenize_as_model(text, snakemake.input.ranks)
    print(f"{len(tokens.tokens)} tokens")
    write_tokens(snakemake.output[0], tokens)
