"""Compile every kernel of a decode step for a GPU that need not be there.

    python -m kvbench.engine.compile_ahead [CAPABILITY ...] [--presets NAME ...] [--formats ...]

Compiles for compute capability 8.0, 9.0 and 10.0, or those given as 80, 90 ..., the kernels of each
preset, cache format and batch with their first settings, and prints registers, spilled bytes and
shared memory of each. Exits with 1 where a kernel spills, and with one line where this Triton
cannot compile for NVIDIA's GPUs.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget

from kvbench.caches import Storage, make
from kvbench.engine.fused_step import SITES, FusedStep
from kvbench.engine.static_view import kernel_rows
from kvbench.kernels.triton.bound import Launch, Quantise
from kvbench.models.build import build, config_of
from kvbench.presets import PRESETS

CAPABILITIES = (80, 90, 100)
FORMATS: dict[str, Storage] = {
    "dense": "dense",
    "int8": {"keys": "int8", "values": "int8"},
    "int4": {"keys": "int4", "values": "int4"},
    "k8v4": {"keys": "int8", "values": "int4"},
    "k8v4-rotated": {"keys": "int8", "values": "int4", "rotate": True},
    "fp8_e4m3": {"keys": "fp8_e4m3", "values": "fp8_e4m3"},
    "q8_0": {"keys": "q8_0", "values": "q8_0"},
    "q4_0": {"keys": "q4_0", "values": "q4_0"},
    "fp8_e5m2": {"keys": "fp8_e5m2", "values": "fp8_e5m2"},
}
BATCHES = (1, 16, 64)
CAPACITY = 1024
DTYPES = ("bfloat16", "float16", "float32")
TYPES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.int8: "*i8",
    torch.uint8: "*u8",
}


@dataclass(frozen=True)
class Compiled:
    """One kernel's resources a thread (registers, spilled bytes) and a program (shared bytes)."""

    registers: int
    spilled: int
    shared: int


def launches(
    preset: str, cache: str, batch: int, every: bool = False, dtype: str = "bfloat16"
) -> Iterator[tuple[str, Launch]]:
    """(name, launch) of each different kernel of a step, over tensors without memory.

    `every`: with every choice of settings, not the first alone.
    """
    shape = PRESETS[preset] | {"n_layer": 1}
    model = build(shape, dtype=dtype, device="meta")
    held = make(FORMATS[cache], model.config, batch, CAPACITY, model.lm_head.weight)
    new = partial(torch.zeros, dtype=torch.long, device="meta")
    step = FusedStep(model, held, new(batch, 1), new(1))
    yield from zip(names(step), step.launches, strict=True)
    if every:
        for site in SITES:
            for choice in step.choices(site)[1:]:
                other = FusedStep(model, held, new(batch, 1), new(1), {site: choice})
                for name, launch in zip(names(other), other.launches, strict=True):
                    if name == site:
                        yield f"{name} {choice}", launch
    if cache != "dense":
        stored_rows, blocks, _ = kernel_rows(held, 0)
        stored = Quantise(*stored_rows, blocks)
        tokens = min(512, held.capacity)
        sizes = batch, held.n_head, tokens, held.head_dim
        rows = torch.empty(sizes, dtype=held.dtype, device="meta")
        yield "quantise", stored.storing(rows, rows, 0, (rows, rows))
        yield "read", stored.reading(tokens, rows, rows)


def names(step: FusedStep) -> list[str]:
    """Names of the launches of a step of one layer."""
    if step.batch == 1:
        return ["embed", "qkv", "attention", "proj", "up", "down", "head"]
    middle = ["norm_1", "qkv", "attention", "proj", "norm_2", "up", "down"]
    return ["embed", *middle, "norm", "head"]


def compile_for(launch: Launch, capability: int) -> Compiled:
    """Compile one launch as Triton would at its first call on a GPU of this capability."""
    kernel, constants = launch.kernel, dict(launch.constants)
    types: dict[str, str] = {}
    aligned: dict[tuple[int], list[list[Any]]] = {}
    arguments = [name for name in kernel.arg_names if name not in constants]
    for name, value in zip(arguments, launch.args, strict=True):
        place = (kernel.arg_names.index(name),)
        if isinstance(value, Tensor):
            types[name] = TYPES[value.dtype]
        elif isinstance(value, float):
            types[name] = "fp32"
        elif value == 1:
            types[name], constants[name] = "constexpr", 1
        else:
            types[name] = "i32" if abs(value) < 2**31 else "i64"
        if isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
            aligned[place] = [["tt.divisibility", 16]]
    types |= dict.fromkeys(launch.constants, "constexpr")
    source = triton.compiler.ASTSource(
        fn=kernel, signature=types, constexprs=constants, attrs=aligned
    )
    target = GPUTarget("cuda", capability, 32)
    options = launch.options() if capability >= 90 else {"num_warps": launch.warps}
    compiled = triton.compile(source, target=target, options=options)
    registers = assembled(compiled.asm["ptx"], capability)
    return Compiled(*registers, compiled.metadata.shared)


def assembled(ptx: str, capability: int) -> tuple[int, int]:
    """Registers and bytes spilled to memory, as the assembler says."""
    knobs = triton.knobs.nvidia
    tool = knobs.ptxas_blackwell if capability >= 100 else knobs.ptxas
    target = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)
    assert target
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [tool.path, "-v", "-arch", target[1], file.name, "-o", os.devnull]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    registers = re.search(r"Used (\d+) registers", done.stderr)
    spilled = re.search(r"(\d+) bytes spill stores", done.stderr)
    assert registers and spilled, done.stderr
    return int(registers[1]), int(spilled[1])


def main() -> None:
    """Compile, print, and say by the exit status whether anything spills."""
    parser = argparse.ArgumentParser(prog="python -m kvbench.engine.compile_ahead")
    parser.add_argument("capabilities", nargs="*", type=int, default=CAPABILITIES)
    fused = [name for name, shape in PRESETS.items() if config_of(shape).unfused is None]
    parser.add_argument("--presets", nargs="+", choices=fused, default=fused)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="of the weights")
    parser.add_argument("--kernels", nargs="+", metavar="NAME", help="as printed; all by default")
    parser.add_argument("--every", action="store_true", help="every choice of settings")
    given = parser.parse_args()
    try:
        print(f"Triton {triton.__version__}, assembler {triton.knobs.nvidia.ptxas.version}")
    except (AttributeError, RuntimeError) as error:
        sys.exit(f"no assembler for NVIDIA GPUs: {error}")
    spilling, seen = 0, set()
    for capability in given.capabilities:
        for preset in given.presets:
            for cache in given.formats:
                for batch in given.batches:
                    for name, launch in launches(preset, cache, batch, given.every, given.dtype):
                        if given.kernels and name.split()[0] not in given.kernels:
                            continue
                        same = (capability, launch.kernel, str(launch.constants), launch.warps)
                        if str(same) in seen:
                            continue
                        seen.add(str(same))
                        found = compile_for(launch, capability)
                        spilling += found.spilled > 0
                        print(
                            f"{capability} {preset} {cache} B{batch} {name}: "
                            f"{found.registers} registers, {found.spilled} spilled, "
                            f"{found.shared} shared"
                        )
    if spilling:
        sys.exit(f"{spilling} kernels spill registers")


if __name__ == "__main__":
    main()
