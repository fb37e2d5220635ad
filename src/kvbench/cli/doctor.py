"""`kvbench doctor`: what this machine has, how quiet it is, what will run, and what is missing."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

NOISY = 1.10  # the slowest tenth over the median: beyond this, times of a few processes say little
QUIET = 1.02
FLAGS = {
    "avx2": ("avx2",),
    "AVX-512": ("avx512f", "avx512bw", "avx512vl"),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "bf16": ("avx512_bf16", "amx_bf16"),
    "AMX": ("amx_tile",),
}


def doctor(
    seconds: Annotated[
        float, typer.Option("--seconds", help="for which the noise is measured", min=0)
    ] = 20.0,
) -> int:
    """Say what this machine has, how quiet it is, what will run natively, and what is missing."""
    flags = cpu_flags()
    lines = [*_processor(flags), *_gpu(), *_tools(), *_will_run(flags)]
    for name, said in lines:
        print(f"{name:11} {said}", flush=True)
    if seconds:
        print(f"{'noise':11} {noise(seconds)}", flush=True)
    lacking = list(missing())
    for line in lacking:
        print(f"{'missing':11} {line}")
    if not lacking:
        print(f"{'missing':11} nothing")
    return 0


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The processor's flags; empty where the system does not tell."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return set()
    said = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return set(said.partition(":")[2].split())


def has(flags: set[str]) -> dict[str, bool]:
    """Whether the processor has each of what the kernels may use."""
    some = ("VNNI", "bf16")  # any of several will do
    return {
        name: any(flag in flags for flag in wanted)
        if name in some
        else all(flag in flags for flag in wanted)
        for name, wanted in FLAGS.items()
    }


def _processor(flags: set[str]) -> Iterator[tuple[str, str]]:
    from kvbench.bench.meters import machine
    from kvbench.job.memory import available

    facts = machine.facts("cpu")
    yield "processor", f"{facts['cpu_name']}, {facts['affinity']} of {facts['cpu_count']} cores"
    found = has(flags)
    yield (
        "",
        "has "
        + (", ".join(n for n, there in found.items() if there) or "none of " + ", ".join(found)),
    )
    if lacks := [name for name, there in found.items() if not there]:
        yield "", f"lacks {', '.join(lacks)}"
    free = available() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    yield "memory", f"{free / 1e9:.1f} GB free"


def _gpu() -> Iterator[tuple[str, str]]:
    import torch

    from kvbench.job.devices import has_cuda_driver

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            capability = f"compute capability {about.major}.{about.minor}"
            yield "GPU", f"{about.name}, {about.total_memory / 1e9:.0f} GB, {capability}"
    elif has_cuda_driver():
        yield "GPU", "there is a driver, but this torch has no CUDA: studies run on the CPU"
    else:
        yield "GPU", "none: studies run on the CPU"


def _tools() -> Iterator[tuple[str, str]]:
    from kvbench.kernels.cpu import build
    from kvbench.ncu import runner

    try:
        compiler = build.find_compiler()
        yield "compiler", f"{compiler}, {build.version_of(compiler)}"
    except build.CompilerError:
        yield "compiler", "none"
    yield "ncu", runner.find() or "none: rooflines take the modelled bytes"
    counters = [str(path) for path in sorted(Path("/sys/class/powercap").glob("*/energy_uj"))]
    readable = [path for path in counters if os.access(path, os.R_OK)]
    yield "energy", f"{len(readable)} RAPL counters readable" if readable else "no counter readable"


def _will_run(flags: set[str]) -> Iterator[tuple[str, str]]:
    import torch

    from kvbench.kernels.cpu.build import has_compiler

    found = has(flags)
    if torch.cuda.is_available():
        kernels = "Triton's kernels in a captured graph" if find_spec("triton") else "torch's own"
        yield "will run", f"on the GPU: {kernels}"
    elif has_compiler():
        isa = "avx2" if found["avx2"] else "portable"
        if found["AVX-512"]:
            isa = next((isa for isa in ("avx512_bf16", "avx512_vnni") if isa in flags), "avx512")
        yield "will run", f"native kernels, compiled by the workflow, {isa} code"
        yield ("", "a decode step is one native call (execution: step) where its parts allow")
    else:
        yield "will run", "torch's own operators: there is no compiler for the native kernels"
    slow = not found["bf16"] and not torch.cuda.is_available()
    yield "dtype", "float32: bfloat16 has no arithmetic here" if slow else "bfloat16 is native"


def noise(seconds: float) -> str:
    """How much a fixed piece of work varies, repeated for so many seconds, in words."""
    import torch

    a = torch.rand(256, 256)
    times: list[float] = []
    until = time.monotonic() + seconds
    while len(times) < 20 or time.monotonic() < until:
        began = time.perf_counter()
        for _ in range(4):
            a @ a
        times.append(time.perf_counter() - began)
    usual = statistics.median(times)
    slow = sorted(times)[int(0.9 * len(times))] / usual
    word = "quiet" if slow < QUIET else "usable" if slow < NOISY else "noisy"
    advice = "" if word == "quiet" else "; more replicates, or an idle machine, narrow intervals"
    load = os.getloadavg()[0]
    return (
        f"{word}: the slowest tenth takes {100 * (slow - 1):.0f} % more than the median of "
        f"{len(times):,}, load {load:.1f}{advice}"
    )


def missing() -> Iterator[str]:
    """What is not here, what it would give, and how to get it."""
    from kvbench.job.devices import has_cuda_driver
    from kvbench.kernels.cpu.build import has_compiler
    from kvbench.ncu import runner

    if not has_compiler():
        yield "a C++ compiler, for the native kernels: apt-get install g++ (or set CXX)"
    if has_cuda_driver():
        import torch

        if not torch.cuda.is_available():
            yield "a torch with CUDA: pip install torch, from the index of your driver's version"
        if not find_spec("triton"):
            yield "triton, for the kernels of a GPU: pip install triton"
        if runner.find() is None:
            yield "ncu, for counted rooflines: it comes with CUDA's toolkit, or nsight-compute"
    free = shutil.disk_usage(".").free / 1e9
    if free < 3:
        yield f"room: {free:.1f} GB are free here; inputs and results of the default study take 3"
