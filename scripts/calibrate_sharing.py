"""Fit a model's projections to a layer map in closed form, or copy its owners' queries."""

from kvbench.job import logged
from kvbench.sharing import fit
from kvbench.text import load_tokens
from kvbench.unavailable import passed_on
from kvbench.weights import save

with logged(snakemake.log[0], snakemake.input.code), passed_on(*snakemake.output):
    job, inputs = snakemake.params.job, snakemake.input
    model, record = fit(job, inputs.init, load_tokens(inputs.train))
    print(record)
    save(snakemake.output[0], dict(model.named_parameters()), **record)
