"""Pool a cell's processes: medians, intervals, every raw sample."""

from kvbench.analysis.pool import pool
from kvbench.job.log import logged
from kvbench.records.read import read_cells
from kvbench.records.store import write_record

with logged(snakemake.log[0], snakemake.input.code):
    write_record(snakemake.output[0], pool(read_cells(snakemake.input.samples, replicates=True)))
