"""Runs Nsight Compute on one phase and exports its counters. Standard library only.

Never changes clocks, never resets a device. Nothing that failed leaves a report or a CSV behind.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kvbench.files import Json, replacing, write_text
from kvbench.ncu import facts
from kvbench.ncu.errors import NcuError
from kvbench.ncu.metrics import byte_options, core_option, tensor_option, time_options
from kvbench.ncu.profile import read
from kvbench.ncu.remarks import PERMISSION
from kvbench.ncu.report import launches, parse, totals_of

FOLDERS = (
    "/usr/local/cuda/bin",
    "/opt/nvidia/nsight-compute/*",
    "/usr/local/NVIDIA-Nsight-Compute*",
)
DRIVER = Path("/proc/driver/nvidia/params")
CLOSE = (0.98, 1.02)  # counted over true FLOP of a product whose size is known
_OPTIONS = (
    *("--config-file", "off", "--target-processes", "application-only"),
    *("--profile-from-start", "off"),
    *("--replay-mode", "application", "--cache-control", "none", "--clock-control", "none"),
    *("--graph-profiling", "node", "--force-overwrite"),
)
_BASE = re.compile(r"^[a-z0-9]+__\w+")
_CORE = re.compile(r"sm(?:sp)?__sass_thread_inst_executed_op_([a-z])\w+_pred_on")
# The source operands of the tensor counters that a study's products are in.
_TENSOR_SOURCE = {"bfloat16": "bf16", "float16": "fp16", "float32": "tf32"}
_NOTHING = "no kernels were profiled: did the phase run on the GPU?"
# What ncu says, and the line it becomes; the first that is found counts.
_FAILURES = (
    ("ERR_NVGPUCTRPERM", PERMISSION),
    ("LibraryNotLoaded", "ncu could not load the CUDA driver's library (LibraryNotLoaded)"),
    ("LaunchFailed", "a kernel failed while ncu profiled it (LaunchFailed): run it without ncu"),
    ("No kernels were profiled", _NOTHING),
)


def find() -> str | None:
    """The path of ncu: on PATH, or the newest in the folders where installers put it."""
    if found := shutil.which("ncu"):
        return found
    for pattern in FOLDERS:
        head, _, tail = pattern.rpartition("/")
        for folder in sorted(Path(head).glob(tail), reverse=True):
            if os.access(folder / "ncu", os.X_OK):
                return str(folder / "ncu")
    return None


def need() -> str:
    """Like `find`. Raises NcuError, with what to do, where there is none."""
    if found := find():
        return found
    raise NcuError(
        "no ncu on PATH: install Nsight Compute, or set roofline.source to model, or to csv "
        "with exports of another machine"
    )


def check_permission(params: Path = DRIVER, uid: int | None = None) -> None:
    """Raise NcuError where the driver is known to refuse this user its counters."""
    try:
        closed = "RmProfilingAdminOnly: 1" in params.read_text()
    except OSError:
        return
    if closed and (os.geteuid() if uid is None else uid) != 0:
        raise NcuError(PERMISSION)


def choose(known: set[str], dtype: str = "bfloat16") -> list[str]:
    """The counters to ask for, of those that the chip has (base names, as ncu lists them).

    As few as a study of `dtype` needs, since every few of them cost a run of the whole program. Of
    each quantity the first option that is whole; of the CUDA cores' counters those of fp32, and for
    float16 of packed fp16; of the tensor counters the aggregates of the dtype, and leaves only
    where there are no aggregates, since both together count twice. Raises NcuError, naming the
    quantity, where a required one has no counter.
    """
    names = {f"{name}.sum" for name in known}
    names |= {f"{name}{end}" for name in known for end in (".avg", ".avg.per_second")}
    chosen: dict[str, None] = {}
    options = {"kernel time": time_options()}
    options |= {name: byte_options(name) for name in ("dram_bytes", "l2_bytes", "l1_bytes")}
    for quantity, ways in options.items():
        wanted = [[name for name, _ in w.terms] + ([w.over] if w.over else []) for w in ways]
        whole = next((terms for terms in wanted if names.issuperset(terms)), None)
        if whole is None:
            raise NcuError(f"this GPU lists no counter for {quantity}: this ncu may be too old")
        chosen |= dict.fromkeys(whole)
    tensors = {name for name in names if "ops_path_tensor" in name}
    top = {
        name for name in tensors if "_op_" not in name.split("tensor")[1] and "spars" not in name
    }
    tensors = top or tensors
    tensors = {n for n in tensors if f"_src_{_TENSOR_SOURCE[dtype]}" in n} or tensors
    others = {n for n in names if "ops_path_tensor" not in n and not _left_out(n, dtype)}
    for family, (option, why) in (
        ("FLOP of the CUDA cores", core_option(others)),
        ("FLOP of the tensor cores", tensor_option(others | tensors, 1.0)),
    ):
        if option is None:
            raise NcuError(f"this GPU lists no counter for {family}" + (f": {why}" if why else ""))
        chosen |= dict.fromkeys(name for name, _ in option.terms)
    return list(chosen)


def _left_out(name: str, dtype: str) -> bool:
    """Whether a counter is of a family of the CUDA cores that a model of `dtype` does not use."""
    found = _CORE.match(name)
    kept = ("f", "h") if dtype == "float16" else ("f",)
    return found is not None and found[1] not in kept


def query(ncu: str, dtype: str = "bfloat16") -> list[str]:
    """The counters to ask for on this machine's GPU, for a study of `dtype`. Raises NcuError."""
    said = _call([ncu, "--query-metrics"])
    _refuse(said)
    return choose({m[0] for line in said.splitlines() if (m := _BASE.match(line.strip()))}, dtype)


def profile(ncu: str, metrics: Sequence[str], command: Sequence[str], report: Path) -> Json:
    """Profile one command into `report`; returns what its own last line of JSON says.

    The command runs once without ncu first: its wall time is the one that counts, and a failure of
    its own is distinguished from one under ncu. Raises NcuError, and then leaves nothing.
    """
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = ran.stdout.strip().splitlines()
    if ran.returncode or not lines:
        reason = (ran.stderr.strip() or "no output").splitlines()[-1]
        raise NcuError(f"{Path(command[1]).name} fails without ncu already: {reason}")
    with replacing(report, ".ncu-rep") as temporary:
        options = [ncu, *_OPTIONS, "--metrics", ",".join(metrics), "--export", str(temporary)]
        before = facts.clocks()
        said = _call([*options, *command])
        _refuse(said)
        if not temporary.stat().st_size:
            last = (said.strip() or "nothing").splitlines()[-1]
            if last.startswith(("==PROF== Connected", "==PROF== Disconnected")):
                raise NcuError(f"ncu connected, but {_NOTHING}")
            raise NcuError(f"ncu ran, but wrote no report; it said last: {last}")
        ran_with: Json = {
            "version": facts.version(_call([ncu, "--version"])),
            "passes": _passes(ncu, temporary),
            "metrics": list(metrics),
        }
        ran_with |= {"clocks_before": before, "clocks_after": facts.clocks()}
    command = [*options[:-1], report.name, *(Path(part).name for part in command[:1]), *command[1:]]
    return {**json.loads(lines[-1]), "ncu": {"command": command, **ran_with}}


def export(ncu: str, report: Path, csv: Path) -> None:
    """Write a report's raw page, in base units, once it parses and is whole. Raises NcuError."""
    with replacing(csv) as temporary:
        _refuse(_raw_page(ncu, report, temporary))
        # Instructions of V100 and T4 count as 1 here: only whether the table is whole matters.
        totals = totals_of(read(temporary), flop_per_tensor_inst=1.0)
        if totals["missing"]:
            raise NcuError(f"the export has no {', '.join(totals['missing'])} of every kernel")
        failed = [one["name"] for one in launches(temporary) if one["time_ns"] is None]
        if failed:
            raise NcuError(f"{len(failed)} kernels were not counted, {failed[0][:80]} for one")


def _raw_page(ncu: str, report: Path, to: Path) -> str:
    """Write a report's raw page, in base units; what ncu says meanwhile."""
    page = ("--csv", "--page", "raw", "--print-units", "base", "--log-file", str(to))
    return _call([ncu, "--import", str(report), *page])


def _passes(ncu: str, report: Path) -> int | None:
    """How often the program was run for the counters; None where the report does not tell."""
    with tempfile.TemporaryDirectory(prefix="kvbench-ncu-") as folder:
        page = Path(folder, "raw.csv")
        _refuse(_raw_page(ncu, report, page))
        with open(page, encoding="utf-8", errors="replace", newline="") as lines:
            return facts.passes(lines)


def calibrate(ncu: str, command: Sequence[str], folder: Path, dtype: str = "bfloat16") -> Json:
    """Counters that were seen to count right: one product of known size, profiled and compared.

    The product that `command` runs is in `dtype`. Returns dtype, metrics, ratio (counted over true
    FLOP) and flop_per_tensor_inst (None but for V100 and T4, whose counter is of instructions).
    Raises NcuError for a ratio outside 0.98-1.02.
    """
    check_permission()
    metrics = query(ncu, dtype)
    run = profile(ncu, metrics, command, folder / "calibrate.ncu-rep")
    csv = folder / "calibrate.csv"
    export(ncu, folder / "calibrate.ncu-rep", csv)
    per_inst = None
    if any("inst_executed_pipe_tensor" in name for name in metrics):
        count = parse(csv, flop_per_tensor_inst=1.0)
        per_inst = run["flop"] / count["tensor_flop"] if count["tensor_flop"] else None
    counted = parse(csv, flop_per_tensor_inst=per_inst)
    if counted["core_flop"] is None or counted["tensor_flop"] is None:
        raise NcuError(f"the calibration's counters are missing: {', '.join(counted['missing'])}")
    ratio = (counted["core_flop"] + counted["tensor_flop"]) / run["flop"]
    if not CLOSE[0] <= ratio <= CLOSE[1]:
        raise NcuError(
            f"a product of {run['flop']} FLOP counts as {ratio:.3g} times that; allowed: "
            f"{CLOSE[0]}-{CLOSE[1]}: these counters are wrong for this GPU, so nothing is plotted"
        )
    counters = {"metrics": metrics, "flop_per_tensor_inst": per_inst}
    return {"dtype": dtype, "ratio": ratio, **counters}


def write_run(path: Path, run: Json) -> None:
    """Write what a profile ran with, beside its report."""
    write_text(path, json.dumps(run, indent=1) + "\n")


def _call(command: Sequence[str]) -> str:
    """Everything a command says; numbers in it are English."""
    environment = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    said = done.stdout + done.stderr
    if done.returncode and not any(sign in said for sign, _ in _FAILURES):
        last = (said.strip() or "nothing").splitlines()[-1]
        raise NcuError(f"ncu exits with {done.returncode}; it said last: {last}")
    return said


def _refuse(said: str) -> None:
    """Raise NcuError, one line, where ncu said that it could not."""
    for sign, line in _FAILURES:
        if sign in said:
            raise NcuError(line)
