"""Runs the steps of the GPU evidence, one after the other. Standard library only.

A step that fails or is out of time ends no other. state.json of the output folder has each step's
status, rc and seconds, so that another call goes on with what was not done.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from perf.choice import chosen
from perf.evidence.steps import HERE, Step, steps

ROOT = Path(__file__).resolve().parents[2]
ENDING_S, LEAST_S = 20, 15  # kept for summary and archive; the least worth beginning a step with
TELLING_S = 14  # for an interrupted step to say what it has
SLOW = 10  # a rehearsal's limits are this much longer: a CPU interprets, and others may use it
ARCHIVE_BYTES = 15 << 20
# An idle driver unloads between processes: one keeps it loaded until its standard input closes.
AWAKE = "import sys, torch; torch.zeros(1, device='cuda'); sys.stdin.read()"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="perf.evidence", description="Evidence of one GPU.")
    parser.add_argument("--output", default="results/gpu-evidence", help="folder of what is found")
    parser.add_argument("--archive", help="the packed folder; default: OUTPUT/evidence.tgz")
    parser.add_argument("--budget", type=float, default=540, metavar="S", help="seconds in all")
    parser.add_argument("--steps", default="", metavar="A,B", help="these only; may be patterns")
    parser.add_argument("--again", action="store_true", help="also what is done already")
    parser.add_argument("--rounds", type=int, default=3, help="processes behind an interval")
    parser.add_argument("--wheels", metavar="DIR", help="packages that this Python lacks")
    parser.add_argument("--list", action="store_true", help="name the steps, and run nothing")
    parser.add_argument(
        "--rehearse", action="store_true", help="every path on a CPU; the numbers mean nothing"
    )
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error(f"--rounds is {given.rounds}; allowed: whole numbers from 1")
    return given


def main(arguments: list[str] | None = None) -> int:
    """Run what is chosen and not done. 0 where every chosen step is done, 2 for a wrong call."""
    given, began = parse(arguments), time.monotonic()
    known = {step.name: step for step in steps(given.rounds, given.rehearse)}
    try:
        patterns = filter(None, given.steps.split(","))
        wanted = [known[name] for name in chosen(known, patterns, "step")]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if given.list:
        print(*(f"{step.name:14} {step.limit_s:4} s" for step in wanted), sep="\n")
        return 0
    out = Path(given.output).resolve()
    (out / "logs").mkdir(parents=True, exist_ok=True)
    kept = out / "state.json"
    state: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    todo = [s for s in wanted if given.again or state.get(s.name, {}).get("status") != "done"]
    ends = began + given.budget - ENDING_S
    try:
        with tempfile.TemporaryDirectory() as site:
            try:
                env = environment(given, site)
            except ValueError as error:
                print(error, file=sys.stderr)
                return 2
            with _tests_meanwhile(given.rehearse, todo, env) as wait:
                for step in todo:
                    wait(step, ends)
                    state[step.name] = one(step, out, env, ends, given.rehearse)
                    kept.write_text(json.dumps(state, indent=1) + "\n")
                    print(line(step.name, state[step.name], out), flush=True)
            conclude(out, env)
    finally:
        pack(out, Path(given.archive or out / "evidence.tgz"))
    return 0 if all(state[s.name]["status"] == "done" for s in wanted) else 1


def environment(given: argparse.Namespace, site: str) -> dict[str, str]:
    """Of every child: the package from this tree, what the wheels hold, no GPU in a rehearsal."""
    found = [str(ROOT), str(ROOT / "src")]
    if given.wheels:
        found.append(install(Path(given.wheels), site))
    found += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    env = os.environ | {"PYTHONPATH": os.pathsep.join(found), "PYTHONUNBUFFERED": "1"}
    # Settings are measured by the step of that name alone, and come back with the archive.
    env |= {"KVBENCH_SETTINGS": str(Path(given.output).resolve() / "settings")}
    env |= {"KVBENCH_TUNE": "kept"}
    if given.rehearse:
        # The locks of devices are in TMPDIR: a rehearsal waits for no measurement.
        env |= {"CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "1", "TMPDIR": site}
    return env


def install(folder: Path, site: str) -> str:
    """Unpack the wheels of a folder into `site`. Raises ValueError, in one line."""
    wheels = sorted(map(str, folder.glob("*.whl")))
    if not wheels:
        raise ValueError(f"--wheels is {folder}, which holds no .whl file")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    command += ["--no-compile", "--target", site, *wheels]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise ValueError(f"pip cannot install the wheels of {folder} for this Python: {said}")
    return site


def scratch() -> Path:
    """Where random weights are kept from call to call: gigabytes, and in no archive."""
    return Path(tempfile.gettempdir()) / f"kvbench-gpu-evidence-{os.getuid()}"


@contextmanager
def _tests_meanwhile(
    small: bool, todo: Sequence[Step], env: dict[str, str]
) -> Iterator[Callable[[Step, float], None]]:
    """What runs beside the first steps: a process that keeps the driver, one that makes weights.

    Yields a function that waits until a step's weights are there, or are not to be had in time.
    """
    if small:
        yield lambda step, ends: None
        return
    presets = dict.fromkeys(preset for step in todo for preset in step.presets)
    make = [sys.executable, "-m", f"{HERE}.cells", "weights", str(scratch()), *presets]
    awake = subprocess.Popen([sys.executable, "-c", AWAKE], stdin=subprocess.PIPE, env=env)
    making = subprocess.Popen(make, env=env, stdout=subprocess.DEVNULL)

    def wait(step: Step, ends: float) -> None:
        files = [scratch() / f"{preset}.safetensors" for preset in step.presets]
        while (
            making.poll() is None and time.monotonic() < ends and not all(map(Path.exists, files))
        ):
            time.sleep(0.1)

    try:
        yield wait
    finally:
        for child in (making, awake):
            child.kill()
            child.wait()


def one(step: Step, out: Path, env: dict[str, str], ends: float, small: bool) -> dict[str, Any]:
    """Run one step under its limit; its output goes to logs/{name}.log."""
    left = ends - time.monotonic()
    if left < min(LEAST_S, step.limit_s):
        return {"status": "no time", "rc": None, "seconds": 0.0}
    _forget(out / "cells.jsonl", step.name)
    values = {"out": str(out), "scratch": str(scratch()), "small": "--small" if small else ""}
    began, limit = time.monotonic(), min(step.limit_s * (SLOW if small else 1), left)

    def start(name: str, arguments: Sequence[str], *before: str) -> subprocess.Popen[bytes]:
        filled = [argument.format(**values) for argument in arguments]
        command = [*before, sys.executable, "-m", *filter(None, filled)]
        with open(out / "logs" / f"{name}.log", "wb") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True
            )

    def end(child: subprocess.Popen[bytes]) -> int | None:
        try:
            return child.wait(max(0.0, began + limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(child)

    meanwhile = start(f"{step.name}-meanwhile", step.meanwhile, "nice") if step.meanwhile else None
    rc = end(start(step.name, (step.module, *step.arguments)))
    if meanwhile:
        end(meanwhile)
    status = "out of time" if rc is None else "done" if rc in step.done else "failed"
    return {"status": status, "rc": rc, "seconds": round(time.monotonic() - began, 1)}


def _end(child: subprocess.Popen[bytes]) -> None:
    """End what is left of a step's process group; interrupted, pytest still tells its results."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            child.wait(TELLING_S)
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(3)
        except subprocess.TimeoutExpired:
            continue
    child.wait()


def _forget(path: Path, name: str) -> None:
    """Drop the cells that an earlier run of a step left."""
    kept = [line for line in lines(path) if line["step"] != name]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in kept))


def lines(path: Path) -> list[dict[str, Any]]:
    """The whole JSON lines of a file; a step that ran out of time may have left a part of one."""
    found = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in found if line.endswith("\n")]


def line(name: str, state: dict[str, Any], out: Path) -> str:
    """One step as people read it: how it ended, and what it said last if it did not end well."""
    said = ""
    log = out / "logs" / f"{name}.log"
    if state["status"] in ("failed", "out of time") and log.exists():
        lines = log.read_text(errors="replace").strip().splitlines()
        said = f"  {lines[-1][:160]}" if lines else ""
    return f"{name:14} {state['status']:11} {state['seconds']:6.1f} s{said}"


def conclude(out: Path, env: dict[str, str]) -> None:
    """Write summary.md from what the folder holds, and print it."""
    command = [sys.executable, "-m", f"{HERE}.summary", str(out)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    (out / "summary.md").write_text(done.stdout)
    print("\n" + done.stdout + done.stderr[-600:], flush=True)


def pack(out: Path, archive: Path) -> None:
    """Everything in one file but reports of ncu, whose exports are there."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(out.rglob("*")):
            if path.is_file() and path.suffix not in (".ncu-rep", ".tgz"):
                tar.add(path, Path("gpu-evidence") / path.relative_to(out))
    size = archive.stat().st_size
    much = f", more than {ARCHIVE_BYTES >> 20} MiB" if size > ARCHIVE_BYTES else ""
    print(f"{archive}: {size / 1e6:.1f} MB{much}", flush=True)
