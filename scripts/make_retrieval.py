"""Make retrieval tasks of the given lengths with a model's tokenizer."""

from kvbench.files.placeholder import passed_on
from kvbench.inputs import model_tokenizer
from kvbench.inputs.retrieval import make_items, write_items
from kvbench.inputs.tokens import load_encoding
from kvbench.inputs.vocabularies import VOCABULARIES
from kvbench.inputs.wheel import verify
from kvbench.job.log import logged

with logged(snakemake.log[0], snakemake.input.code), passed_on(snakemake.output[0]):
    asked, ranks = snakemake.wildcards, snakemake.input.ranks
    if asked.tokenizer in VOCABULARIES:
        ranks = verify(ranks, snakemake.params.entries)
        encode, prefix = load_encoding(ranks, asked.tokenizer).encode_ordinary, []
    else:
        tokenizer = model_tokenizer.load(ranks)
        encode, prefix = model_tokenizer.encoder(tokenizer), model_tokenizer.prefix(tokenizer)
    lengths = [int(length) for length in asked.lengths.split("-")]
    items = make_items(encode, lengths, int(asked.number), int(asked.seed), prefix)
    print(f"{sum(len(one.ids) for one in items.values())} items")
    write_items(snakemake.output[0], items)
