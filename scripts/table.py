"""Write one table of cells, as Markdown and CSV."""

from kvbench.job.log import logged
from kvbench.records.read import read_cells
from kvbench.report import tables

with logged(snakemake.log[0], snakemake.input.code):
    records = read_cells(snakemake.input.cells)
    tables.write(snakemake.wildcards.table, records, snakemake.output.md, snakemake.output.csv)
