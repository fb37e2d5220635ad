"""Export a profile's counters as CSV, in base units."""

from pathlib import Path

from kvbench.job.log import logged
from kvbench.ncu import runner

with logged(snakemake.log[0], snakemake.input.code):
    runner.export(runner.need(), Path(snakemake.input.report), Path(snakemake.output[0]))
