"""Add the datasheet's peaks of the device to its measured roofs."""

from kvbench.analysis.datasheet import read_roofs, with_datasheet
from kvbench.job.log import logged
from kvbench.records.store import write_record

with logged(snakemake.log[0], snakemake.input.code):
    roofs = read_roofs(snakemake.input.roofs)
    write_record(snakemake.output[0], with_datasheet(roofs, snakemake.input.peaks))
