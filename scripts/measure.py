"""Measure one cell with the benchmark that it names, in this fresh process."""

from kvbench.job.measure import measure

measure(snakemake)
