"""Fail where something got slower or larger than it was."""

from kvbench.analysis import regression
from kvbench.files import write_text
from kvbench.job.log import logged
from kvbench.records.store import read_record

with logged(snakemake.log[0], snakemake.input.code):
    regression.check(read_record(snakemake.input.record))
    write_text(snakemake.output[0], "nothing got slower or larger\n")
