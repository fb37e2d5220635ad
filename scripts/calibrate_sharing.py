"""Fit a model's projections to a layer map in closed form, or copy its owners' queries."""

from kvbench.inputs.share_kv import fit
from kvbench.inputs.tokens import load_tokens
from kvbench.job.log import logged
from kvbench.job.measure import one_path
from kvbench.models.weights import save
from kvbench.placeholder import passed_on

with logged(snakemake.log[0], snakemake.input.code), passed_on(*snakemake.output):
    job, inputs = snakemake.params.job, snakemake.input
    model, record = fit(job, one_path(inputs.init), load_tokens(inputs.train))
    print(record)
    save(snakemake.output[0], dict(model.named_parameters()), **record)
