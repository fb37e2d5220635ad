"""Nsight Compute on one decode step: its calibration, then a version's step, exported and parsed.

Without ncu only the program that would be profiled is run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kvbench.ncu import NcuError, parse, runner
from kvbench.plan import cells
from kvbench.plan.config import load_schema, resolve
from kvbench.records.store import write_text
from perf.evidence.cells import STUDY, small
from perf.steps import random_weights

PROGRAM = Path(__file__).resolve().parents[2] / "scripts/profile_decode_step.py"
CALIBRATE, CALIBRATION = "calibrate", "calibration.json"
DEPTH = 512


def main(arguments: list[str] | None = None) -> int:
    """Calibrate, or profile one version; 1, with one line, where ncu could not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", help=f"{CALIBRATE}, or a version")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", metavar="DIR")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(PROGRAM), *program(given)]
    tool = runner.find()
    if tool is None and given.small:
        print("no ncu here: the program alone is run")
        return subprocess.run(command, check=False).returncode
    try:
        if given.what == CALIBRATE:
            calibrate(runner.need(), command, given.folder)
        else:
            print(json.dumps(profiled(runner.need(), command, given.folder, given.what)))
    except NcuError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def program(given: argparse.Namespace) -> list[str]:
    """Arguments of the profiled program."""
    device = "cpu" if given.small else "cuda"
    if given.what == CALIBRATE:
        return ["--version", CALIBRATE, "--device", device]
    study = {key: value for key, value in STUDY.items() if key != "device"} | {"device": device}
    config = resolve(study | {"versions": [given.what]}, load_schema())
    where = {"batch": 1, "phase": "decode", "P": DEPTH}
    cell = cells.cell(config, "roofline", "gpt2", given.what, **where)
    if given.small:
        cell = small(cell)
    file = given.folder / f"{given.what}.cell.json"
    write_text(file, json.dumps(cell.param(), indent=1) + "\n")
    path = None if given.small else random_weights(given.weights, "gpt2")
    return ["--cell", str(file), *(["--weights", path] if path else [])]


def calibrate(tool: str, command: list[str], folder: Path) -> None:
    """Keep what the counters of a known product showed."""
    began = time.monotonic()
    found = runner.calibrate(tool, command, folder)
    found |= {"seconds": round(time.monotonic() - began, 1)}
    write_text(folder / CALIBRATION, json.dumps(found, indent=1) + "\n")
    print(f"ratio {found['ratio']:.3f}, {len(found['metrics'])} counters")


def profiled(tool: str, command: list[str], folder: Path, version: str) -> dict[str, Any]:
    """Profile, export and parse one step; keeps CSV, run.json and totals.json."""
    if not (folder / CALIBRATION).exists():
        raise NcuError(f"no {CALIBRATION} in {folder}: run step ncu-{CALIBRATE} first")
    calibration = json.loads((folder / CALIBRATION).read_text())
    name, began = f"gpt2_{version}_decode_B1_P{DEPTH}", time.monotonic()
    report = folder / f"{name}.ncu-rep"
    ran = runner.profile(tool, calibration["metrics"], command, report)
    runner.write_run(folder / f"{name}.run.json", ran)
    csv = folder / f"{name}.csv"
    runner.export(tool, report, csv)
    per_inst = calibration["flop_per_tensor_inst"]
    totals = parse(csv, flop_per_tensor_inst=per_inst, families=True)
    totals |= {"version": version, "seconds": round(time.monotonic() - began, 1)}
    totals |= {"modelled_bytes": ran["bytes"], "modelled_flop": ran["flop"]}
    totals |= {"passes": ran["ncu"]["passes"], "wall_ms_median": ran["wall_ms_median"]}
    write_text(folder / f"{name}.totals.json", json.dumps(totals, indent=1) + "\n")
    kept = ("launches", "dram_bytes", "l2_bytes", "time_ns", "modelled_bytes", "passes")
    return {key: totals[key] for key in kept}


if __name__ == "__main__":
    sys.exit(main())
