"""Train the nano model on mini-wiki, from counts or on from its own weights; K/V may be shared."""

from kvbench.inputs.tokens import load_tokens
from kvbench.inputs.train import keep_freed_memory, train
from kvbench.job.log import logged
from kvbench.models.weights import save

with logged(snakemake.log[0], snakemake.input.code):
    keep_freed_memory()
    inputs, job = snakemake.input, snakemake.params.job
    texts = load_tokens(inputs.train), load_tokens(inputs.valid)
    how = {"layer_map": job.pop("layer_map", "own"), "init": inputs.get("init") or None}
    model, record = train(job["shape"], *texts, job, threads=snakemake.threads, **how)
    print(record)
    save(snakemake.output[0], dict(model.named_parameters()), source="trained", **record)
