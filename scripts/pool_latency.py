"""Pool a cell's processes: medians, intervals, every raw sample."""

from kvbench.job import logged
from kvbench.pool import pool
from kvbench.store import read_record, write_record

with logged(snakemake.log[0]):
    write_record(snakemake.output[0], pool([read_record(path) for path in snakemake.input.samples]))
