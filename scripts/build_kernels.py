"""Compile the native CPU kernels, or say why there are none."""

from pathlib import Path

from kvbench.inputs.build_kernels import build_or_say_why
from kvbench.job.log import logged
from kvbench.kernels.cpu.build import isas_here

with logged(snakemake.log[0], snakemake.input.code):
    build_or_say_why(*map(Path, snakemake.output), isas_here())
