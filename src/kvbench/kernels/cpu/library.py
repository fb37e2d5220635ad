"""The native CPU kernels: `load` opens the library, `Native` binds its kernels to tensors."""

from __future__ import annotations

import ctypes
import os
from ctypes import c_char_p
from pathlib import Path

from torch import Tensor

from kvbench.kernels.cpu import abi, bound
from kvbench.kernels.cpu.build import source_sha256


def load(path: Path, isa: str | None = None, threads: int = 1) -> Native:
    """Open the library at `path` for `isa`, else $KVBENCH_ISA, else the best of this processor.

    Raises OSError if it cannot be opened; ValueError if it was built from other sources, or has no
    code for `isa` that this processor can run, or no threads where some are asked for.
    """
    library = ctypes.CDLL(str(path))
    library.kvbench_source.restype = library.kvbench_isa.restype = c_char_p
    library.kvbench_kernels.restype = ctypes.POINTER(abi.Kernels)
    library.kvbench_kernels.argtypes = [c_char_p]
    if library.kvbench_source().decode() != source_sha256():
        raise ValueError(f"{path} was built from other sources than these: build it again")
    best = library.kvbench_isa().decode()
    isa = isa or os.environ.get("KVBENCH_ISA") or best
    kernels = library.kvbench_kernels(isa.encode())
    if not kernels:
        raise ValueError(f"{path} has no kernels for {isa!r} that run here; the best is {best!r}")
    if threads > 1 and not library.kvbench_openmp():
        raise ValueError(f"{path} was built without OpenMP: threads must be 1, not {threads}")
    return Native(kernels.contents, isa, threads)


class Native:
    """The kernels of one instruction set, on a fixed number of threads.

    Above one thread use torch's own count (`torch.get_num_threads`): both then share one OpenMP
    pool, which a changing count would build anew.
    """

    def __init__(self, kernels: abi.Kernels, isa: str, threads: int) -> None:
        self.kernels, self.isa, self.threads = kernels, isa, threads

    def attention(
        self,
        k: Tensor,
        v: Tensor,
        k_scale: Tensor | None = None,
        v_scale: Tensor | None = None,
        scale: float | None = None,
    ) -> bound.Attention:
        """Bind a cache, of floats or of codes and scales: `attention(q, n, out)`."""
        return bound.Attention(self.kernels, self.threads, k, v, k_scale, v_scale, scale)

    def append(
        self, rows: Tensor, scale: Tensor | None = None, blocks: bool = False
    ) -> bound.Append:
        """Bind rows of a cache, floats or codes and scales: `append(x, at)` writes into it."""
        return bound.Append(self.kernels, rows, scale, blocks)

    def linear(
        self, w: Tensor, bias: Tensor | None = None, gelu: bool = False, in_place: bool = False
    ) -> bound.Linear:
        """Pack and bind weights, in their own memory where asked: `linear(x, out)`."""
        return bound.Linear(self.kernels, self.threads, w, bias, gelu, in_place)

    def attend_prompt(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Causal attention of many queries, the newest of some keys (`bound.attend_prompt`)."""
        return bound.attend_prompt(self.kernels, self.threads, q, k, v)

    @property
    def attends_prompts(self) -> bool:
        """Whether `attend_prompt` is faster than torch: not with vectors of four numbers."""
        return self.kernels.panel >= 16

    def read_sum(self, x: Tensor, times: int = 1, streams: int = 1) -> float:
        """Sum of a contiguous fp32 tensor, `times` over: the roof of every kernel, one thread's.

        One stream is fastest from a cache, several (8 or 16) from memory.
        """
        return bound.read_sum(self.kernels, x, times, streams)
