"""Compile the native CPU kernels, or say why there are none."""

from pathlib import Path

from kvbench.job import logged
from kvbench.kernels.build import build_or_say_why

with logged(snakemake.log[0]):
    build_or_say_why(Path(snakemake.output.library), Path(snakemake.output.record))
