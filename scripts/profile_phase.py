"""Profile one prefill or decode step with ncu, and export its counters as CSV, in base units."""

import json
import sys
from pathlib import Path

from kvbench.files import write_text
from kvbench.job.devices import one_device
from kvbench.job.log import logged
from kvbench.ncu import runner
from kvbench.records.store import read_record

with logged(snakemake.log[0], snakemake.input.code), one_device(snakemake.config):
    report, run = Path(snakemake.output.report), Path(snakemake.output.run)
    cell = report.with_suffix(".cell.json")
    write_text(cell, json.dumps(snakemake.params.cell))
    program = [f"{snakemake.scriptdir}/profile_decode_step.py", "--cell", str(cell)]
    command = [sys.executable, *program, "--weights", snakemake.input.weights]
    command += ["--code", snakemake.input.program]
    metrics = read_record(snakemake.input.calibration)["metrics"]
    runner.check_permission()
    ncu = runner.need()
    runner.write_run(run, runner.profile(ncu, metrics, command, report))
    runner.export(ncu, report, Path(snakemake.output.csv))
