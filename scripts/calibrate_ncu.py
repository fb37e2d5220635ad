"""See that this GPU's counters count right: one product of known size."""

import sys
from pathlib import Path

from kvbench.job.devices import one_device
from kvbench.job.log import logged
from kvbench.ncu import runner
from kvbench.records.store import write_record

with logged(snakemake.log[0], snakemake.input.code), one_device(snakemake.config):
    output, settings = Path(snakemake.output[0]), snakemake.params.settings
    options = [item for key, value in settings.items() for item in (f"--{key}", str(value))]
    program = f"{snakemake.scriptdir}/profile_decode_step.py"
    command = [sys.executable, program, "--version", "calibrate", *options]
    write_record(output, runner.calibrate(runner.need(), command, output.parent, settings["dtype"]))
