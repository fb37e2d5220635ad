"""Add up an export's counters."""

from kvbench.job.log import logged
from kvbench.ncu import parse
from kvbench.records.store import read_record, write_record

with logged(snakemake.log[0], snakemake.input.code):
    calibration = snakemake.input.get("calibration")
    worth = read_record(calibration)["flop_per_tensor_inst"] if calibration else None
    totals = parse(snakemake.input.csv, flop_per_tensor_inst=worth, families=True)
    write_record(snakemake.output[0], totals)
