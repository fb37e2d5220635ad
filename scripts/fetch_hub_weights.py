"""Fetch a pretrained GPT-2 from the model hub and convert it once."""

from kvbench.job.log import logged
from kvbench.models.weights import from_hub, save

with logged(snakemake.log[0], snakemake.input.code):
    preset = snakemake.wildcards.preset
    tensors, revision = from_hub(preset)
    save(snakemake.output[0], tensors, source="hub", preset=preset, revision=revision)
