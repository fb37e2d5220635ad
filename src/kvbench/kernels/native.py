"""Call the native CPU kernels on torch tensors.

`load` opens the library, `Native` offers its kernels. What stays the same from one decode step to
the next (caches, weights) is checked and bound once, by `Native.attention` and `Native.linear`; a
call then looks only at the query and the output, which keeps it within microseconds.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import c_char_p, c_float, c_int32, c_int64, c_void_p
from pathlib import Path

import torch
from torch import Tensor

from kvbench.kernels.build import source_sha256

FORMATS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2, torch.uint8: 3}  # uint8: two int4
FLOATS = (torch.float32, torch.bfloat16)
MAX_HEAD_SIZE = 512

PTR, I32, I64, F32 = c_void_p, c_int32, c_int64, c_float
SIGNATURES: dict[str, tuple] = {  # as in native/kernels.h, in its order: result, then arguments
    "attention": (None, I32, *[I64] * 5, *[PTR] * 4, F32, I32, I32, PTR, *[I64] * 3, PTR),
    "quantise": (None, I32, I32, *[I64] * 4, PTR, *[I64] * 3, PTR, PTR, I64, I64),
    "pack": (None, I32, I64, I64, PTR, PTR),
    "linear": (I32, I32, I64, I64, PTR, PTR, I32, I32, I64, PTR, PTR),
    "read_sum": (F32, PTR, I64),
}


class Kernels(ctypes.Structure):
    _fields_ = [(name, ctypes.CFUNCTYPE(*types)) for name, types in SIGNATURES.items()]


def load(path: Path, isa: str | None = None, threads: int = 1) -> Native:
    """Open the library at `path` for `isa`, else $KVBENCH_ISA, else the best of this processor.

    Raises OSError if it cannot be opened; ValueError if it was built from other sources, or has no
    code for `isa` that this processor can run, or no threads where some are asked for.
    """
    library = ctypes.CDLL(str(path))
    library.kvbench_source.restype = library.kvbench_isa.restype = c_char_p
    library.kvbench_kernels.restype = ctypes.POINTER(Kernels)
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

    def __init__(self, kernels: Kernels, isa: str, threads: int) -> None:
        self.kernels, self.isa, self.threads = kernels, isa, threads

    def attention(
        self,
        k: Tensor,
        v: Tensor,
        k_scale: Tensor | None = None,
        v_scale: Tensor | None = None,
        scale: float | None = None,
    ) -> Attention:
        """Bind a cache for `Attention`."""
        return Attention(self, k, v, k_scale, v_scale, scale)

    def linear(self, w: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Linear:
        """Pack and bind weights for `Linear`."""
        return Linear(self, w, bias, gelu)

    def quantise_append(self, x: Tensor, codes: Tensor, scale: Tensor, at: int) -> None:
        """Write rows x (B, H, T, D) as codes at positions at ... at + T - 1 of a cache.

        codes: int8 (B, H, S, D), or uint8 (B, H, S, D/2) holding two int4; scale: fp32 (B, H, S);
        x: fp32 or bf16, of any strides but in D. Bit for bit the twin's codes and scales.
        """
        if x.dim() != 4:
            raise ValueError(f"x: expected (B, H, T, D), got {tuple(x.shape)}")
        batch, heads, rows, size = x.shape
        capacity = scale.shape[-1]
        columns = _columns(codes, size)
        _check("x", x, FLOATS, x.shape, contiguous=False)
        _check("codes", codes, (torch.int8, torch.uint8), (batch, heads, capacity, columns))
        _check("scale", scale, (torch.float32,), (batch, heads, capacity))
        if not 0 <= at <= capacity - rows:
            raise ValueError(f"{rows} rows do not fit at position {at} of {capacity}")
        self.kernels.quantise(
            FORMATS[codes.dtype], FORMATS[x.dtype], batch, heads, rows, size,
            x.data_ptr(), *x.stride()[:3], codes.data_ptr(), scale.data_ptr(), capacity, at,
        )  # fmt: skip

    def read_sum(self, x: Tensor) -> float:
        """Sum of a contiguous fp32 tensor: the roof of every kernel here, reading memory once."""
        _check("x", x, (torch.float32,), x.shape)
        return self.kernels.read_sum(x.data_ptr(), x.numel())


class Attention:
    """Decode attention over one bound cache: `attention(q, n, out)`.

    k, v: (B, Hkv, S, D) contiguous, fp32 or bf16; or int8 codes; or uint8 (B, Hkv, S, D/2) holding
    two int4. Codes need fp32 scales (B, Hkv, S). `scale` is the softmax's, 1/sqrt(D) by default.
    Raises ValueError where a tensor does not fit.
    """

    def __init__(
        self,
        native: Native,
        k: Tensor,
        v: Tensor,
        k_scale: Tensor | None,
        v_scale: Tensor | None,
        scale: float | None,
    ) -> None:
        if k.dim() != 4:
            raise ValueError(f"k: expected (B, Hkv, S, D), got {tuple(k.shape)}")
        _check("k", k, tuple(FORMATS), k.shape)
        _check("v", v, (k.dtype,), k.shape)
        for name, t in (("k_scale", k_scale), ("v_scale", v_scale)):
            if (t is None) != (k.dtype in FLOATS):
                needs = "takes no" if t is not None else "needs fp32"
                raise ValueError(f"{name}: a cache of {k.dtype} {needs} scales (B, Hkv, S)")
            if t is not None:
                _check(name, t, (torch.float32,), k.shape[:3])
        self.size = k.shape[-1] * (2 if k.dtype is torch.uint8 else 1)
        _columns(k, self.size)
        self.native, self.kernel = native, native.kernels.attention
        self.scale = self.size**-0.5 if scale is None else scale
        self.tensors = k, k_scale, v, v_scale  # kept alive: the kernel is given their addresses
        self.capacity = k.shape[2]
        self.shape = torch.Size()  # of the last query
        self.bound: tuple = ()  # what the kernel is given for queries of that shape

    def __call__(self, q: Tensor, n: int, out: Tensor) -> Tensor:
        """Attend from q (B, Hq, D) or (B, Hq, 1, D) to the first n positions; returns out, like q.

        q and out are both fp32 or both bf16; out is contiguous, q of any strides but in D.
        """
        if q.shape != self.shape:
            self._bind(q.shape)
        dtype, shape = q.dtype, self.shape
        batch, head, *_, one = q.stride()
        if one != 1 or dtype not in FLOATS or not q.is_cpu:
            _check("q", q, FLOATS, shape, contiguous=False)
        if out.dtype is not dtype or out.shape != shape or not _dense(out):
            _check("out", out, (dtype,), shape)
        if not 1 <= n <= self.capacity:
            raise ValueError(f"n must be 1 to {self.capacity}, the cache's capacity, not {n}")
        self.kernel(*self.bound, FORMATS[dtype], q.data_ptr(), batch, head, n, out.data_ptr())
        return out

    def _bind(self, shape: torch.Size) -> None:
        k = self.tensors[0]
        batch, kv_heads = k.shape[:2]
        heads = shape[1] if len(shape) > 1 else 0
        row = (1, self.size) if len(shape) == 4 else (self.size,)
        if heads < 1 or heads % kv_heads or shape != (batch, heads, *row):
            raise ValueError(
                f"q: expected ({batch}, a multiple of {kv_heads}, {self.size}), got {tuple(shape)}"
            )
        self.shape = shape
        self.bound = (
            FORMATS[k.dtype], batch, kv_heads, heads // kv_heads, self.size, self.capacity,
            *(t if t is None else t.data_ptr() for t in self.tensors),
            self.scale, self.native.threads,
        )  # fmt: skip


class Linear:
    """x w^T + bias, then GELU (tanh form) if asked, for few rows x: `linear(x, out)`.

    w (N, K) and bias (N): both fp32 or both bf16, K even. The weights are copied, rearranged, so w
    itself may be freed. Raises ValueError where a tensor does not fit.
    """

    def __init__(self, native: Native, w: Tensor, bias: Tensor | None, gelu: bool) -> None:
        _check("w", w, FLOATS, w.shape)
        if w.dim() != 2 or w.shape[1] % 2:
            raise ValueError(f"w: expected (N, K) with K even, got {tuple(w.shape)}")
        if bias is not None:
            _check("bias", bias, (w.dtype,), w.shape[:1])
        self.dtype, (self.outputs, self.inputs) = w.dtype, w.shape
        self.bias, self.panels = bias, w.new_empty(-(-self.outputs // 32) * 32, self.inputs)
        self.kernel = native.kernels.linear
        size = FORMATS[w.dtype], self.outputs, self.inputs
        native.kernels.pack(*size, w.data_ptr(), self.panels.data_ptr())
        pointers = self.panels.data_ptr(), bias if bias is None else bias.data_ptr()
        self.bound = *size, *pointers, gelu, native.threads

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        """x (..., K) to out (..., N), both contiguous and in the weights' dtype; returns out."""
        lead, dtype = x.shape[:-1], self.dtype
        if x.dtype is not dtype or x.shape[-1] != self.inputs or not _dense(x):
            _check("x", x, (dtype,), (*lead, self.inputs))
        rows = x.numel() // self.inputs
        if out.dtype is not dtype or out.shape != (*lead, self.outputs) or not _dense(out):
            _check("out", out, (dtype,), (*lead, self.outputs))
        if self.kernel(*self.bound, rows, x.data_ptr(), out.data_ptr()):
            raise MemoryError(f"no memory for an fp32 copy of x {tuple(x.shape)}")
        return out


def _dense(x: Tensor) -> bool:
    return x.is_contiguous() and x.is_cpu


def _check(
    name: str, x: Tensor, dtypes: tuple, shape: tuple[int, ...], contiguous: bool = True
) -> None:
    fits = x.is_contiguous() if contiguous else x.stride(-1) == 1
    if x.dtype not in dtypes or x.shape != shape or not x.is_cpu or not fits:
        layout = "contiguous" if contiguous else "contiguous in its last dimension"
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise ValueError(
            f"{name}: expected a CPU tensor {tuple(shape)} of {wanted}, {layout}; got "
            f"{tuple(x.shape)} of {str(x.dtype).removeprefix('torch.')} on {x.device}, "
            f"strides {x.stride()}"
        )


def _columns(codes: Tensor, size: int) -> int:
    packed = codes.dtype is torch.uint8
    step, what = (32, " of an int4 cache") if packed else (16, "")
    if size % step or not 0 < size <= MAX_HEAD_SIZE:
        raise ValueError(
            f"head size{what}: expected a multiple of {step} up to {MAX_HEAD_SIZE}, got {size}"
        )
    return size // 2 if packed else size
