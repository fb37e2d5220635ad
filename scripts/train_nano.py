"""Train the nano model on mini-wiki: trained weights that need no model hub."""

from kvbench.job import logged
from kvbench.text import load_tokens
from kvbench.train import keep_freed_memory, train
from kvbench.weights import save

with logged(snakemake.log[0]):
    keep_freed_memory()
    inputs, job = snakemake.input, snakemake.params.job
    texts = load_tokens(inputs.train), load_tokens(inputs.valid)
    model, record = train(job["shape"], *texts, job, threads=snakemake.threads)
    print(record)
    save(snakemake.output[0], dict(model.named_parameters()), source="trained", **record)
