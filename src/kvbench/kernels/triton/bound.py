"""The Triton kernels bound to tensors: shapes checked, splits chosen and scratch made once.

As `bound`, with one difference: where the step is comes as a tensor on the device, so that a call
waits for nothing, allocates nothing, and may be captured in a CUDA graph.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from kvbench.kernels.triton import kernels

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
CODES = {torch.int8: 127, torch.uint8: 7}  # uint8: two INT4 codes
KEYS = 64  # keys of one tile
MAX_SPLITS = 64
PROGRAMS_PER_SM = 4  # enough loads in flight to fill the memory's pipes
CPU_SMS = 2  # under the interpreter: a few splits, so that they are tested


class Attention:
    """Decode attention over one bound cache: `attention(q, position, out)`.

    k, v: (B, Hkv, S, D) contiguous floats; or int8 codes; or uint8 (B, Hkv, S, D/2) holding two
    INT4 codes. Codes need fp32 scales (B, Hkv, S). `heads` are the query heads. `scale` is the
    softmax's, 1/sqrt(D) by default. Raises ValueError where a tensor does not fit.
    """

    def __init__(
        self,
        heads: int,
        k: Tensor,
        v: Tensor,
        k_scale: Tensor | None = None,
        v_scale: Tensor | None = None,
        scale: float | None = None,
        splits: int | None = None,
    ) -> None:
        B, kv_heads, self.capacity = _rows("k", k)
        _fit("v", v, k.dtype, k.shape, k.device)
        for name, given in (("k_scale", k_scale), ("v_scale", v_scale)):
            if (given is None) != (k.dtype in FLOATS):
                needs = "needs fp32" if given is None else "takes no"
                raise ValueError(f"{name}: a cache of {k.dtype} {needs} scales (B, Hkv, S)")
            if given is not None:
                _fit(name, given, torch.float32, k.shape[:3], k.device)
        if heads % kv_heads:
            raise ValueError(f"heads is {heads}; allowed: a multiple of {kv_heads}, those of k")
        self.tensors = k, v, k_scale, v_scale
        self.size = k.size(3) * (2 if k.dtype is torch.uint8 else 1)
        self.scale = self.size**-0.5 if scale is None else scale
        self.shape = B, heads, self.size
        group = heads // kv_heads
        self.splits = splits or choose_splits(B * kv_heads, self.capacity, k.device)
        shape = B, heads, self.splits
        self.part = torch.empty(*shape, self.size, device=k.device)
        self.part_max, self.part_sum = torch.empty(2, *shape, device=k.device)
        self.columns = _padded(self.size)
        self.options = {
            "KV_HEADS": kv_heads,
            "GROUP": group,
            "ROWS": 1 if group == 1 else max(16, triton.next_power_of_2(group)),
            "D": self.size,
            "COLUMNS": _padded(k.size(3)),
            "KEYS": KEYS,
            "SPLITS": self.splits,
            "CODES": k.dtype in CODES,
            "PACKED": k.dtype is torch.uint8,
            "DOT": group > 1,  # matrix units take no fewer than 16 rows, and pay from two on
        }

    def __call__(self, q: Tensor, position: Tensor, out: Tensor) -> Tensor:
        """Attend from q (B, Hq, D) or (B, Hq, 1, D) to positions 0 ... position; returns out.

        position: the newest token's index, int64 (1,) on the device; it is not checked, since
        that would wait for the device. q of any strides but in D, out contiguous, like q.
        """
        B, heads, size = self.shape
        if q.shape not in (self.shape, (B, heads, 1, size)) or q.stride(-1) != 1:
            raise ValueError(f"q: expected {self.shape}, contiguous in D, got {tuple(q.shape)}")
        if out.shape != q.shape or out.dtype is not q.dtype or not out.is_contiguous():
            raise ValueError(f"out: expected contiguous {tuple(q.shape)} of {q.dtype}")
        k, v, k_scale, v_scale = self.tensors
        # The interpreter knows no product of two-byte floats.
        kernels.attend_split[B * self.options["KV_HEADS"], self.splits](
            q, q.stride(0), q.stride(1), k, v, k if k_scale is None else k_scale,
            v if v_scale is None else v_scale, position, self.part, self.part_max, self.part_sum,
            out, self.capacity, self.scale, **self.options,
            HALF=self.options["DOT"] and q.is_cuda and q.dtype is not torch.float32,
        )  # fmt: skip
        if self.splits > 1:
            kernels.join_splits[B * heads,](
                self.part, self.part_max, self.part_sum, out,
                D=size, COLUMNS=self.columns, SPLITS=self.splits,
            )  # fmt: skip
        return out


class Append:
    """Stores one new row of every head in a bound cache: `append(x, position)`.

    rows: floats (B, H, S, D), int8, or uint8 (B, H, S, D/2) with two INT4 codes; codes need `scale`
    fp32 (B, H, S). Codes and scales are the twin's, bit for bit.
    """

    def __init__(self, rows: Tensor, scale: Tensor | None = None) -> None:
        B, heads, self.capacity = _rows("rows", rows)
        if (scale is None) != (rows.dtype in FLOATS):
            needs = "needs an fp32 scale" if scale is None else "takes no scale"
            raise ValueError(f"scale: a cache of {rows.dtype} {needs} (B, H, S)")
        if scale is not None:
            _fit("scale", scale, torch.float32, rows.shape[:3], rows.device)
        self.rows, self.scale = rows, scale
        size = rows.size(3) * (2 if rows.dtype is torch.uint8 else 1)
        self.shape = B, heads, 1, size
        self.options = {
            "HEADS": heads,
            "D": size,
            "COLUMNS": triton.next_power_of_2(rows.size(3)),
            "LIMIT": CODES.get(rows.dtype, 0),
        }

    def __call__(self, x: Tensor, position: Tensor) -> None:
        """Write rows x (B, H, 1, D), of any strides but in D, at `position`, int64 (1,)."""
        if x.shape != self.shape or x.stride(-1) != 1 or x.dtype not in FLOATS:
            raise ValueError(f"x: expected {self.shape}, contiguous in D, got {tuple(x.shape)}")
        B, heads = self.shape[:2]
        kernels.append_row[B * heads,](
            x, x.stride(0), x.stride(1), self.rows, self.rows if self.scale is None else self.scale,
            position, self.capacity, **self.options,
        )  # fmt: skip


def choose_splits(heads: int, capacity: int, device: torch.device) -> int:
    """Shares of the keys, a power of two: enough programs for the device, no share under a tile."""
    cuda = device.type == "cuda"
    sms = torch.cuda.get_device_properties(device).multi_processor_count if cuda else CPU_SMS
    wanted = min(PROGRAMS_PER_SM * sms // heads, capacity // KEYS, MAX_SPLITS)
    return 1 << max(0, wanted.bit_length() - 1) if wanted else 1


def _padded(columns: int) -> int:
    return max(16, triton.next_power_of_2(columns))


def _rows(name: str, x: Tensor) -> tuple[int, int, int]:
    """Batch, heads and capacity of a cache's tensor that kernels can run on."""
    if x.dim() != 4 or x.dtype not in (*FLOATS, *CODES) or not x.is_contiguous():
        raise ValueError(
            f"{name}: expected contiguous (B, H, S, D), got {tuple(x.shape)} {x.dtype}"
        )
    if not x.is_cuda and isinstance(kernels.append_row, triton.JITFunction):
        raise ValueError(f"{name}: on {x.device}, where Triton needs TRITON_INTERPRET=1 to run")
    return x.size(0), x.size(1), x.size(2)


def _fit(name: str, x: Tensor, dtype: torch.dtype, shape: tuple, device: torch.device) -> None:
    if x.dtype is not dtype or x.shape != shape or x.device != device or not x.is_contiguous():
        raise ValueError(
            f"{name}: expected contiguous {tuple(shape)} of {dtype} on {device}, got "
            f"{tuple(x.shape)} of {x.dtype} on {x.device}"
        )
