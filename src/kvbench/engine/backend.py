"""What runs a cell: `execution` and `kernel` as asked for, settled on what this process has."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kvbench.caches import cache_class
from kvbench.cell import Cell
from kvbench.costs.description import Description
from kvbench.costs.forward import ITEMSIZE, head_dim
from kvbench.engine.static_view import readable
from kvbench.files import placeholder
from kvbench.models.build import config_of
from kvbench.records.store import read_record

if TYPE_CHECKING:
    from kvbench.kernels.cpu.library import Native

NO_STEP = "recomputing has no two steps of one shape"
WHOLE_WORDS = "the fused step reads rows of whole 32-bit words"
NO_TRITON = "there is no triton here"
NOT_ROWS = "this cache does not keep one row a token"
TURNED = "this cache turns rows, which no captured step of torch's operators does"
LOOKED_INTO = "this benchmark looks into the forward, which is therefore eager"
# By name: code of CPUs alone.
NATIVE = "kvbench.kernels.cpu.library"
NATIVE_STEP = "kvbench.engine.native_step"


@dataclass(frozen=True)
class Choice:
    """What really runs, for the record, and why it is not the fastest where auto fell back.

    execution: `step` is the native kernels' whole decode step (`kvbench.engine.native_step`).
    linear: `plain` is F.linear; `prepacked` oneDNN's weights; `panels` the native kernels'.
    widened: whether bfloat16 rows are read in fp32, where torch alone is there to read them.
    """

    execution: str  # eager | step | graph | compile
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
        return self.execution in ("graph", "compile") or self.kernel == "triton"


AUTO = {True: "graph", False: "eager"}  # on CUDA, or not
PLAIN = Choice("eager", "torch")  # operators as torch has them, one by one: how the seed measured


def settle(cell: Cell, device: str, library: str | None = None) -> Choice:
    """Settle a cell's `execution` and `kernel` on `device` (cpu or cuda).

    `library` is the native kernels' file, or one that says why there is none. Raises RuntimeError
    where what is asked for by name is not to be had.
    """
    execution, kernel = cell.execution, cell.kernel
    if execution == "step" and (device == "cuda" or kernel in ("torch", "triton")):
        raise RuntimeError("execution: step is one of kernel: native on a CPU; use auto")
    if device == "cuda" or execution in ("graph", "compile") or kernel == "triton":
        execution, kernel, reason = settle_step(cell, device)
        return Choice(execution, kernel, reason=reason)
    if kernel == "torch":
        return PLAIN
    if library is None or (reason := placeholder.reason(library)):
        reason = reason if library else "no library of native kernels was given"
        if kernel == "native" or execution == "step":
            asked = "kernel: native" if kernel == "native" else "execution: step"
            raise RuntimeError(f"{asked}, but {reason}; use auto or torch")
        linear = "prepacked" if can_prepack(cell.dtype) else "plain"
        return Choice("eager", "torch", linear, reason, widened=cell.dtype == "bfloat16")
    build = read_record(Path(library).with_suffix(".json"))
    if hashlib.sha256(Path(library).read_bytes()).hexdigest() != build["sha256"]:
        raise RuntimeError(f"{library} is not the library that was built: delete it and run again")
    native = import_module(NATIVE).load(Path(library), threads=cell.threads)
    facts = {key: build[key] for key in ("compiler", "version", "flags", "sha256")}
    reason = None if execution == "eager" else _why_no_step(cell)
    execution = "eager" if execution == "eager" or reason else "step"
    return Choice(execution, "native", "panels", reason, native, facts)


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


def settle_step(cell: Cell, device: str) -> tuple[str, str, str | None]:
    """(execution, kernel, reason) of a cell on CUDA, or of one that asks for more than eager.

    A cell that cannot be run as asked (its version recomputes, its benchmark hooks into modules)
    runs eagerly and says why. Raises RuntimeError where the device lacks what is asked for by name;
    a CPU has Triton where TRITON_INTERPRET=1 asks for its interpreter.
    """
    execution, kernel = cell.execution, cell.kernel
    cuda = device == "cuda"
    if execution == "graph" and not cuda:
        raise RuntimeError("execution: graph needs CUDA, which torch does not see; use auto")
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if (kernel == "triton" and not (cuda or interpreted)) or (kernel == "native" and cuda):
        raise RuntimeError(f"kernel: {kernel} is not to be had on {device}; use auto")
    asked, execution = execution, execution if execution != "auto" else AUTO[cuda]
    fused = kernel == "triton" or (kernel == "auto" and execution == "graph")
    unfused = _why_unfused(cell) if find_spec("triton") else NO_TRITON
    if asked != "eager" or kernel == "triton":
        reason = _why_no_step(cell)
        if reason is None and (unfused or not fused):
            reason = _why_eager(cell)
        if reason:
            quantised = cuda and kernel != "torch" and asked != "compile" and _coded_prompt(cell)
            return "eager", "triton" if quantised else "torch", reason
    if fused:
        return execution, "torch" if unfused else "triton", unfused
    return execution, "torch" if kernel == "auto" else kernel, None  # eager is the seed's mode


def _why_no_step(cell: Cell) -> str | None:
    """Why a cell has no steps of one shape."""
    if not cell.whole_steps or cell.phase == "prefill":
        return LOOKED_INTO
    return None if cell.use_cache else NO_STEP


def _why_eager(cell: Cell) -> str | None:
    """Why a cell can only be run operator by operator, where steps are torch's."""
    storage = cache_class(cell.storage)
    if hasattr(storage, "rows"):
        return None
    described = getattr(storage, "description", None)
    if described is None or described.module != "coded":
        return NOT_ROWS
    if described.rotate:
        return TURNED
    said = f"K {described.keys.word()}, V {described.values.word()}"
    return f"no kernel reads {said}" + ", less their bias" * (described.key_bias == "split")


def _why_unfused(cell: Cell) -> str | None:
    """Why Triton's step cannot run a cell, whose steps are then torch's own operators."""
    config = config_of(cell.model_config, cell.layer_owner)
    if config.unfused:
        return f"the fused step has no {config.unfused}"
    storage = cache_class(cell.storage)
    if getattr(storage, "window", 0) > 0:
        return "the fused step reads no ring of rows"
    if not readable(storage):
        return _why_eager(cell)
    described = getattr(storage, "description", Description())
    size, itemsize = head_dim(cell.model_config), ITEMSIZE[cell.dtype]
    rows = [part.codes_bytes(size, itemsize) for part in (described.keys, described.values)]
    blocks = [(size & -size) * row // size for row in rows]  # bytes that are turned together
    turned = zip(blocks, described.turned, strict=True)
    whole = all(row % 4 == 0 for row in rows) and all(
        block >= 4 for block, is_so in turned if is_so
    )
    return None if whole else WHOLE_WORDS


def _coded_prompt(cell: Cell) -> bool:
    """Whether a cell is the prefill of a cache of codes, which a kernel quantises."""
    described = getattr(cache_class(cell.storage), "description", None)
    coded = cell.phase == "prefill" and described is not None and described.quantised
    return coded and find_spec("triton") is not None and _why_unfused(cell) is None
