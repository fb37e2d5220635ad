"""What runs a cell: `execution` and `kernel` as asked for, settled on what this process has."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kvbench import placeholder as unavailable
from kvbench.cell import Cell
from kvbench.engine.stepped import settle_step
from kvbench.records.store import read_record

if TYPE_CHECKING:
    from kvbench.kernels.cpu.library import Native

# By name: code of CPUs alone.
NATIVE = "kvbench.kernels.cpu.library"


@dataclass(frozen=True)
class Choice:
    """What really runs, for the record, and why it is not the fastest where auto fell back.

    linear: `plain` is F.linear; `prepacked` oneDNN's weights; `panels` the native kernels'.
    widened: whether bfloat16 rows are read in fp32, where torch alone is there to read them.
    """

    execution: str  # eager | graph | compile
    kernel: str  # torch | native | triton
    linear: str = "plain"
    reason: str | None = None
    native: Native | None = None
    build: dict[str, Any] | None = None  # how the native library was built
    widened: bool = False

    def facts(self) -> dict[str, Any]:
        """What a record says of it."""
        return {
            "execution": self.execution,
            "kernel": self.kernel,
            "linear": self.linear,
            "kernel_reason": self.reason,
            "kernel_isa": self.native.isa if self.native else None,
            "kernel_build": self.build,
        }

    @property
    def static(self) -> bool:
        """Whether steps are those of `kvbench.engine.static_step`, the same work at every depth."""
        return self.execution != "eager" or self.kernel == "triton"


PLAIN = Choice("eager", "torch")  # operators as torch has them, one by one: how the seed measured


def settle(cell: Cell, device: str, library: str | None = None) -> Choice:
    """Settle a cell's `execution` and `kernel` on `device` (cpu or cuda).

    `library` is the native kernels' file, or one that says why there is none. Raises RuntimeError
    where what is asked for by name is not to be had.
    """
    execution, kernel = cell.execution, cell.kernel
    if device == "cuda" or execution in ("graph", "compile") or kernel == "triton":
        execution, kernel, reason = settle_step(cell, device)
        return Choice(execution, kernel, reason=reason)
    if kernel == "torch":
        return PLAIN
    if library is None or (reason := unavailable.reason(library)):
        reason = reason if library else "no library of native kernels was given"
        if kernel == "native":
            raise RuntimeError(f"kernel: native, but {reason}; use auto or torch")
        linear = "prepacked" if can_prepack(cell.dtype) else "plain"
        return Choice("eager", "torch", linear, reason, widened=cell.dtype == "bfloat16")
    native = import_module(NATIVE).load(Path(library), threads=cell.threads)
    build = read_record(Path(library).with_suffix(".json"))
    facts = ("compiler", "version", "flags", "sha256")
    return Choice("eager", "native", "panels", None, native, {key: build[key] for key in facts})


def can_prepack(dtype: str) -> bool:
    """Whether oneDNN packs weights of this dtype here, and it pays: packed, they are held twice.

    It needs a processor with bfloat16. Plain float32 weights, and any on AVX2, are read as fast
    (docs/speed.md).
    """
    if dtype == "float32" or torch.backends.cpu.get_cpu_capability() == "AVX2":
        return False
    probe = torch.zeros(2, 2, dtype=getattr(torch, dtype))
    try:
        torch.ops.mkldnn._reorder_linear_weight(probe, 1)
    except (RuntimeError, AttributeError):  # private: another torch may lack it
        return False
    return True
