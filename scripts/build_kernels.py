"""Compile the native CPU kernels, or say why there are none."""

from pathlib import Path

from kvbench.job import logged
from kvbench.kernels.make import build_or_say_why

with logged(snakemake.log[0], snakemake.input.code):
    build_or_say_why(*map(Path, snakemake.output))
