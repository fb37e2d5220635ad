"""Add up an export's counters: counted FLOP and bytes of one phase, and the modelled ones."""

from kvbench.bench import roofline_counted
from kvbench.cell import Cell
from kvbench.job.log import logged
from kvbench.ncu import parse
from kvbench.records.provenance import stamp
from kvbench.records.store import read_record, write_record

with logged(snakemake.log[0], snakemake.input.code):
    inputs, params = snakemake.input, snakemake.params
    calibration, run = inputs.get("calibration"), inputs.get("run")
    worth = read_record(calibration)["flop_per_tensor_inst"] if calibration else None
    counted = parse(inputs.csv, flop_per_tensor_inst=worth, families=True)
    ran = roofline_counted.read_run(run) if run else None
    roofs, cell = read_record(inputs.roofs), Cell.of(params.cell)
    record = roofline_counted.run(cell, counted, roofs, params.source, ran)
    write_record(snakemake.output[0], stamp(record, params.cell, inputs))
