"""Write one table of cells, as Markdown and CSV."""

from kvbench import tables
from kvbench.job import logged
from kvbench.records import read_cells

with logged(snakemake.log[0], snakemake.input.code):
    records = read_cells(snakemake.input.cells)
    tables.write(snakemake.wildcards.table, records, snakemake.output.md, snakemake.output.csv)
