"""Compile every Triton kernel for a GPU that need not be there.

    python -m kvbench.kernels.triton.compile_ahead 90     compute capability 9.0

Prints the size of each kernel's machine code. Exits with one line where this Triton cannot compile
for NVIDIA's GPUs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import triton
from triton.backends.compiler import GPUTarget

from kvbench.kernels.triton import kernels

FORMATS = {"bf16": "*bf16", "fp32": "*fp32", "int8": "*i8", "int4": "*u8"}
LIMITS = {"int8": 127, "int4": 7}
D = 64


def variants() -> Iterator[tuple[str, Any, list[str], dict[str, Any]]]:
    """(name, kernel, types of its run-time arguments, its constants), for bf16 activations."""
    for name, kind in FORMATS.items():
        codes, packed = name in LIMITS, name == "int4"
        scales, columns = "*fp32" if codes else kind, D // 2 if packed else D
        types = ["*bf16", "i64", "i64", kind, kind, scales, scales, "*i64"]
        types += ["*fp32", "*fp32", "*fp32", "*bf16", "i32", "fp32"]
        for group in (1, 3):
            several = group > 1
            constants = {"KV_HEADS": 4, "GROUP": group, "ROWS": 16 if several else 1, "D": D}
            constants |= {"COLUMNS": columns, "KEYS": 64, "SPLITS": 8, "CODES": codes}
            constants |= {"PACKED": packed, "DOT": several, "HALF": several}
            yield f"attend_split {name} group {group}", kernels.attend_split, types, constants
        types = ["*bf16", "i64", "i64", kind, scales, "*i64", "i32"]
        constants = {"HEADS": 4, "D": D, "COLUMNS": columns, "LIMIT": LIMITS.get(name, 0)}
        yield f"append_row {name}", kernels.append_row, types, constants
    types, constants = ["*fp32", "*fp32", "*fp32", "*bf16"], {"D": D, "COLUMNS": D, "SPLITS": 8}
    yield "join_splits", kernels.join_splits, types, constants


def machine_code(kernel: Any, types: list[str], constants: dict[str, Any], target: Any) -> bytes:
    """The kernel's machine code for `target`; its arguments are `types`, then `constants`."""
    names = [name for name in kernel.arg_names if name not in constants]
    signature = dict(zip(names, types, strict=True)) | dict.fromkeys(constants, "constexpr")
    source = triton.compiler.ASTSource(fn=kernel, signature=signature, constexprs=constants)
    return triton.compile(source, target=target).asm["cubin"]


def main(capability: str = "90") -> None:
    """Compile for one compute capability, such as 90."""
    target = GPUTarget("cuda", int(capability), 32)
    try:
        print(f"assembler {triton.knobs.nvidia.ptxas.version}")
    except (AttributeError, RuntimeError) as error:
        sys.exit(f"no assembler for NVIDIA GPUs: {error}")
    for name, kernel, types, constants in variants():
        print(f"{name}: {len(machine_code(kernel, types, constants, target))} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
