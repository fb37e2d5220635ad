"""How whole decode steps run where they need not run operator by operator: on CUDA, or compiled."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec

from kvbench.cell import Cell

NO_STEP = "recomputing has no two steps of one shape"
NOT_ROWS = "this cache does not keep one row a token"
LOOKED_INTO = "this benchmark looks into the forward, which is therefore eager"


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
    if (execution != "eager" or kernel == "triton") and (reason := _why_eager(cell)):
        quantised = cuda and kernel != "torch" and execution != "compile" and _coded_prompt(cell)
        return "eager", "triton" if quantised else "torch", reason
    if execution == "auto":
        execution = "graph" if cuda else "eager"
    if kernel == "auto" and execution == "graph":  # eager is the seed's mode: torch's own operators
        if find_spec("triton"):
            return execution, "triton", None
        return execution, "torch", "there is no triton here"
    return execution, "torch" if kernel == "auto" else kernel, None


def _why_eager(cell: Cell) -> str | None:
    """Why a cell can only be run operator by operator."""
    if not cell.whole_steps or cell.phase == "prefill":
        return LOOKED_INTO
    if not cell.use_cache:
        return NO_STEP
    storage = import_module(f"kvbench.caches.{cell.cache}").KVCache
    return None if hasattr(storage, "rows") else NOT_ROWS


def _coded_prompt(cell: Cell) -> bool:
    """Whether a cell is the prefill of a cache of codes, which a kernel quantises."""
    storage = import_module(f"kvbench.caches.{cell.cache}").KVCache
    coded = hasattr(storage, "rows") and hasattr(storage, "quantise")
    return cell.phase == "prefill" and coded and find_spec("triton") is not None
