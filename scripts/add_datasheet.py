"""Add the datasheet's peaks of the device to its measured roofs."""

from kvbench.analysis.datasheet import with_datasheet
from kvbench.job.log import logged
from kvbench.records.store import read_record, write_record

with logged(snakemake.log[0], snakemake.input.code):
    roofs = read_record(snakemake.input.roofs)
    write_record(snakemake.output[0], with_datasheet(roofs, snakemake.input.peaks))
