"""Collect every cell of the study into JSON lines."""

from kvbench.job.log import logged
from kvbench.records.gather import read_cell
from kvbench.records.store import write_lines

with logged(snakemake.log[0], snakemake.input.code):
    write_lines(snakemake.output[0], (read_cell(path) for path in snakemake.input.cells))
