"""Draw seeded random weights of one shape, as GPT-2 is initialised."""

from kvbench.costs.forward import weight_bytes
from kvbench.job.log import logged
from kvbench.job.memory import check_memory
from kvbench.models.build import build
from kvbench.models.weights import save

with logged(snakemake.log[0], snakemake.input.code):
    origin = {"source": "random", "preset": snakemake.wildcards.preset}
    seed = int(snakemake.wildcards.seed)
    shape = snakemake.params.shape
    check_memory(weight_bytes(shape, range(shape["n_layer"]), "bfloat16"), 0)
    model = build(shape, dtype="bfloat16", seed=seed, device="cpu")
    save(snakemake.output[0], dict(model.named_parameters()), **origin, seed=seed)
