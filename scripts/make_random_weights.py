"""Draw seeded random weights of one shape, as GPT-2 is initialised."""

from kvbench.job.log import logged
from kvbench.models.build import build
from kvbench.models.weights import save

with logged(snakemake.log[0], snakemake.input.code):
    origin = {"source": "random", "preset": snakemake.wildcards.preset}
    seed = int(snakemake.wildcards.seed)
    model = build(snakemake.params.shape, dtype="bfloat16", seed=seed, device="cpu")
    save(snakemake.output[0], dict(model.named_parameters()), **origin, seed=seed)
