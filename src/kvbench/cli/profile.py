"""One phase of one version under a profiler: set up outside the range, exactly one phase inside.

    python scripts/profile_decode_step.py --version v2_decode --P 512 --model gpt2-medium

With ncu, profile from the start of the range only (`--profile-from-start off`). Prints one JSON
line with what ran, its modelled cost, and the wall time of unprofiled repeats. `--cell FILE` runs a
cell of the workflow as it is there; `--version calibrate` one product of known size.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch

from kvbench import versions
from kvbench.bench.meters import machine
from kvbench.bench.roofline import cell_cost, phase_of, timed
from kvbench.bench.setup import ready
from kvbench.cell import EXECUTIONS, KERNELS, PHASES, Cell
from kvbench.files import Json
from kvbench.job.log import check_declared
from kvbench.models.build import DTYPES
from kvbench.plan import cells, config
from kvbench.presets import PRESETS

WARMUPS = 3
CALIBRATE = "calibrate"
GEMM_N = {"cpu": 256, "cuda": 4096}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line. Exits with one line naming the allowed values for anything else."""
    called = [*versions.VERSIONS, *versions.BY_NAME]
    known = [f"{version}_{phase}" for version in called for phase in PHASES]
    parser = argparse.ArgumentParser(description="Profile one prefill or one decode step.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--version", choices=[*known, CALIBRATE], metavar="vN_PHASE")
    what.add_argument("--cell", help="JSON file with one roofline cell")
    parser.add_argument("--P", type=int, default=512, help="prompt tokens, or depth of the cache")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--model", default="gpt2", choices=list(PRESETS))
    parser.add_argument("--dtype", default="bfloat16", choices=list(DTYPES))
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    for name, values in (("execution", EXECUTIONS), ("kernel", KERNELS)):
        parser.add_argument(f"--{name}", default="auto", choices=values)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", help="safetensors file; default: seeded random numbers")
    parser.add_argument("--code", help="a rule's listing, which must hold every module loaded")
    given = parser.parse_args(arguments)
    most = PRESETS[given.model]["block_size"] - 1
    if not 1 <= given.P <= most:
        parser.error(f"--P is {given.P}; allowed for {given.model}: whole numbers from 1 to {most}")
    for name in ("batch", "threads"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} is {getattr(given, name)}; allowed: whole numbers from 1")
    return given


@contextmanager
def profiled(device: str, name: str) -> Iterator[None]:
    """The range a profiler records: an NVTX range between cudaProfilerStart and Stop."""
    if device != "cuda":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStart()
    torch.cuda.nvtx.range_push(name)
    yield
    torch.cuda.synchronize()
    torch.cuda.nvtx.range_pop()
    torch.cuda.cudart().cudaProfilerStop()


def main(arguments: list[str] | None = None) -> None:
    """Run one phase inside the profiler's range and print what ran as one JSON line."""
    given = parse(arguments)
    if given.version == CALIBRATE:
        print(json.dumps(_calibrate(given)))
        return
    cell = Cell.of(json.loads(Path(given.cell).read_text())) if given.cell else _cell(given)
    with ready(cell, given.weights) as setup:
        once = phase_of(setup, cell.phase, cell.P)
        for _ in range(WARMUPS):
            once()
        with profiled(setup.device, f"{cell.version}_{cell.phase}"):
            once()
        walls = [timed(setup, once)["wall_ms"] for _ in range(WARMUPS)]
        record = setup.record(P=cell.P, wall_ms_median=median(walls), wall_ms=walls)
        print(json.dumps(record | {"phase": cell.phase, **cell_cost(cell).to_dict()}))
    if given.code:
        check_declared(given.code)


def _cell(given: argparse.Namespace) -> Cell:
    name, phase = given.version.rsplit("_", 1)
    version = versions.version_of(name)
    settings = {
        key: getattr(given, key) for key in ("dtype", "device", "threads", "execution", "kernel")
    }
    whole = config.resolve(
        settings | {"num_measure_runs": WARMUPS, "versions": [version]}, config.load_schema()
    )
    where = {"batch": given.batch, "phase": phase, "P": given.P}
    cell = cells.cell(whole, "roofline", given.model, version, **where)
    return cell.replace(weights="path" if given.weights else "random")


def _calibrate(given: argparse.Namespace) -> Json:
    """One product of random N x N matrices: 2 N^3 FLOP, to hold the counters against."""
    device = machine.use_device(given.device, given.threads)
    n, dtype = GEMM_N[device], DTYPES[given.dtype]
    a, b = (torch.rand(n, n, device=device).sub_(0.5).to(dtype) for _ in range(2))
    for _ in range(WARMUPS):
        a @ b
    with profiled(device, CALIBRATE):
        a @ b
    return {"benchmark_name": CALIBRATE, "dtype": given.dtype, "N": n, "flop": 2 * n**3}
