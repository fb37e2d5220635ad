"""Pool a cell's processes: medians, intervals, every raw sample."""

from kvbench.job import logged
from kvbench.pool import pool
from kvbench.records import read_cells
from kvbench.store import write_record

with logged(snakemake.log[0], snakemake.input.code):
    write_record(snakemake.output[0], pool(read_cells(snakemake.input.samples, replicates=True)))
