"""Profile one phase of one version with Nsight Compute and print its totals as one JSON object.

    python -m kvbench.ncu profile --version v2_decode --P 512 --model gpt2

Into the folder --out go calibration.json (a product of known size, counted once for each dtype),
and of the phase {model}_{phase of the version}_B{batch}_P{P}: .ncu-rep, .csv and .run.json, the
names that `roofline.source: csv` looks for. Any other option is the profiled program's own; see
python scripts/profile_decode_step.py --help. Counters cost a run of the program for every few of
them. Needs ncu, and permission to read counters.
"""

import argparse
import json
import sys
from pathlib import Path

from kvbench.cell import PHASES
from kvbench.costs.forward import ITEMSIZE
from kvbench.files import Json
from kvbench.ncu import runner
from kvbench.ncu.errors import NcuError
from kvbench.ncu.report import parse
from kvbench.presets import PRESETS
from kvbench.versions import BY_NAME, VERSIONS, version_of

PROGRAM = Path(__file__).resolve().parents[3] / "scripts/profile_decode_step.py"


def main(argv: list[str]) -> int:
    """Calibrate where that was not done, profile, export, add up; one line on stderr and 1."""
    parser = argparse.ArgumentParser(
        prog="kvbench.ncu profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    called = [*VERSIONS, *BY_NAME]
    known = [f"{version}_{phase}" for version in called for phase in PHASES]
    parser.add_argument("--version", required=True, choices=known, metavar="vN_PHASE")
    parser.add_argument("--P", type=int, default=512, help="prompt tokens, or depth (512)")
    parser.add_argument("--model", default="gpt2", choices=list(PRESETS), help="(gpt2)")
    parser.add_argument("--batch", type=int, default=1, help="sequences (1)")
    parser.add_argument("--dtype", default="bfloat16", choices=list(ITEMSIZE), help="(bfloat16)")
    parser.add_argument("--out", type=Path, default=Path("results/ncu"), help="(results/ncu)")
    given, rest = parser.parse_known_args(argv)
    name, phase = given.version.rsplit("_", 1)
    given.version = f"{version_of(name)}_{phase}"
    try:
        found = run(given, rest)
    except (NcuError, OSError) as error:
        print(f"kvbench.ncu profile: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2), flush=True)
    return 0


def run(given: argparse.Namespace, rest: list[str]) -> Json:
    """The totals of the phase, with the names of its files. Raises NcuError."""
    ncu, program = runner.need(), [sys.executable, str(PROGRAM)]
    calibration = _calibration(ncu, [*program, "--version", "calibrate"], given)
    phase = ["--version", given.version, "--P", str(given.P), "--model", given.model]
    phase += ["--batch", str(given.batch), "--dtype", given.dtype, *rest]
    report = given.out / f"{given.model}_{given.version}_B{given.batch}_P{given.P}.ncu-rep"
    ran, csv = report.with_suffix(".run.json"), report.with_suffix(".csv")
    found = runner.profile(ncu, calibration["metrics"], [*program, *phase], report)
    runner.write_run(ran, found)
    runner.export(ncu, report, csv)
    worth = calibration["flop_per_tensor_inst"]
    totals = parse(csv, flop_per_tensor_inst=worth, families=True)
    return {"files": [str(path) for path in (report, csv, ran)], **totals}


def _calibration(ncu: str, command: list[str], given: argparse.Namespace) -> Json:
    """That of the folder, where it is of this dtype; else a new one."""
    path = given.out / "calibration.json"
    if path.exists():
        try:
            known = json.loads(path.read_text())
        except ValueError as error:
            raise NcuError(f"{path} is not JSON ({error}): delete it") from None
        if known.get("dtype") == given.dtype:
            return known
    found = runner.calibrate(ncu, [*command, "--dtype", given.dtype], given.out, given.dtype)
    runner.write_run(path, found)
    return found
