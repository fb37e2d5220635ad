"""Measure one cell with the benchmark that it names, in a process of its own."""

from kvbench.job import fork_server
from kvbench.job.measure import measure

fork_server.run(measure, snakemake)
