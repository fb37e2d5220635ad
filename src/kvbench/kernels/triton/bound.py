"""The Triton kernels bound to tensors: shapes checked, settings filled in, scratch made once.

A bound kernel is a `Launch`: it waits for nothing, allocates nothing and may be captured in a CUDA
graph. `Setting`s say how it runs; `choices` lists those that are worth measuring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from kvbench.kernels.triton import attention, linear, quantise, residual, words

KINDS = {
    torch.float32: words.FP32.value,
    torch.bfloat16: words.BF16.value,
    torch.float16: words.FP16.value,
    torch.int8: words.INT8.value,
    torch.uint8: words.INT4.value,  # two codes a byte
}
CODES = (torch.int8, torch.uint8)
HALVES = (torch.bfloat16, torch.float16)
WORD = 4  # bytes


@dataclass(frozen=True)
class Launch:
    """One kernel launch; `settings` are what a measurement chose, for the record."""

    kernel: Any
    grid: tuple[int, ...]
    args: tuple[Any, ...]
    constants: dict[str, Any]
    warps: int = 4
    pdl: bool = False

    def __call__(self) -> None:
        """Launch it on the current stream."""
        self.kernel[self.grid](*self.args, **self.constants, **self.options())

    def options(self) -> dict[str, Any]:
        """Options of the compiler and the launch; the interpreter takes none."""
        if words.INTERPRETED:
            return {}
        return {"num_warps": self.warps} | ({"launch_pdl": True} if self.pdl else {})

    def compile(self) -> None:
        """Compile it without launching it."""
        args = [a.dtype if isinstance(a, Tensor) else a for a in self.args]
        self.kernel.warmup(*args, grid=self.grid, **self.constants, **self.options())


@dataclass(frozen=True)
class AttentionSetting:
    """How `attend` runs: a tile is slots_a_warp * warps keys side by side, `keys` times in turn."""

    warps: int = 4
    keys: int = 1
    stages: int = 0
    splits: int = 1
    rows: int = 1  # query heads of a group that a program takes
    pdl: int = 0


@dataclass(frozen=True)
class RowSetting:
    """How `one_row` runs: `outputs` of a tile, `tiles` a program."""

    outputs: int = 4
    warps: int = 4
    tiles: int = 1


@dataclass(frozen=True)
class RowsSetting:
    """How `few_rows` runs: tiles of outputs by depth, K in `split` summands."""

    outputs: int = 32
    depth: int = 128
    split: int = 1
    stages: int = 3
    warps: int = 4


class Attention:
    """Decode attention over one bound cache, appending the new token if it `owns` the rows.

    k, v: (B, Hkv, S, D) contiguous floats; or int8 codes; or uint8 (B, Hkv, S, D/2) holding two
    INT4 codes. Codes need fp32 scales (B, Hkv, S). `heads` are the query heads; `scale` is the
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
        owns: bool = True,
    ) -> None:
        check_rows("k", k)
        check_like("v", v, k.dtype, k.shape, k.device)
        for name, given in (("k_scale", k_scale), ("v_scale", v_scale)):
            if (given is None) != (k.dtype not in CODES):
                needs = "needs fp32" if given is None else "takes no"
                raise ValueError(f"{name}: a cache of {k.dtype} {needs} scales (B, Hkv, S)")
            if given is not None:
                check_like(name, given, torch.float32, k.shape[:3], k.device)
        if heads % k.size(1):
            raise ValueError(f"heads is {heads}; allowed: a multiple of {k.size(1)}, those of k")
        row_bytes = k.size(3) * k.element_size()
        if row_bytes % WORD:
            raise ValueError(f"k: a row of {row_bytes} bytes is not of whole words of {WORD}")
        self.batch, self.kv_heads, self.capacity = k.shape[:3]
        self.heads, self.group, self.owns = heads, heads // k.size(1), owns
        self.size = k.size(3) * (2 if k.dtype is torch.uint8 else 1)
        self.scale = self.size**-0.5 if scale is None else scale
        self.kind, self.per = KINDS[k.dtype], self.size * WORD // row_bytes
        self.k, self.v = k.view(torch.int32), v.view(torch.int32)
        self.k_scale, self.v_scale = k_scale, v_scale
        self.device = k.device
        self.row_bytes = row_bytes
        self.words = triton.next_power_of_2(row_bytes // WORD)
        self.width = (heads + (2 * self.kv_heads if owns else 0)) * self.size

    @property
    def slots_a_warp(self) -> int:
        """Keys that one warp reads side by side, 16 bytes a thread."""
        return max(1, 32 * 4 // self.words)

    def launch(
        self,
        qkv: Tensor,
        position: Tensor,
        out: Tensor,
        setting: AttentionSetting | None = None,
        turn: Tensor | None = None,
    ) -> Launch:
        """The kernel for one step: out (B, Hq * D) of qkv (PARTS, B, width), fp32 summands.

        width is q's, then k's and v's where the rows are owned. position: the new token's index,
        int64 (1,) on the device; it is not checked, since that would wait for the device. turn:
        fp32 (2, D/2), cosines and sines, for rotary positions.
        """
        setting = setting or self.choices()[0]
        if qkv.dim() != 3 or qkv.shape[1:] != (self.batch, self.width) or qkv.stride(2) != 1:
            expected = ("PARTS", self.batch, self.width)
            raise ValueError(f"qkv: expected {expected}, got {tuple(qkv.shape)}")
        if out.shape != (self.batch, self.heads * self.size) or not out.is_contiguous():
            like = (self.batch, self.heads * self.size)
            raise ValueError(f"out: expected contiguous {like}, got {tuple(out.shape)}")
        chunks = -(-self.group // setting.rows)
        programs, splits = self.batch * self.kv_heads * chunks, setting.splits

        def scratch(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=self.device)

        shares = self.batch * self.heads * splits
        part = scratch(shares, self.size) if splits > 1 else out
        tops, sums = (scratch(shares) if splits > 1 else out for _ in "ts")
        arrived = scratch(programs, dtype=torch.int32) if splits > 1 else position
        args = (
            qkv, qkv.stride(0), qkv.stride(1), qkv if turn is None else turn,
            self.k, self.v,
            self.k if self.k_scale is None else self.k_scale,
            self.v if self.v_scale is None else self.v_scale,
            position, part, tops, sums, arrived, out, self.capacity, self.scale,
        )  # fmt: skip
        constants = {
            "KV_HEADS": self.kv_heads,
            "GROUP": self.group,
            "ROWS": setting.rows,
            "D": self.size,
            "KIND": self.kind,
            "PER": self.per,
            "WORDS": self.words,
            "SLOTS": self.slots_a_warp * setting.warps,
            "KEYS": setting.keys,
            "STAGES": setting.stages,
            "SPLITS": splits,
            "PARTS": qkv.size(0),
            "APPEND": self.owns,
            "ROTARY": turn is not None,
            "PDL": setting.pdl,
        }
        grid = (programs, splits)
        return Launch(attention.attend, grid, args, constants, setting.warps, setting.pdl > 0)

    def choices(self) -> list[AttentionSetting]:
        """Settings worth measuring, the best guess first."""
        rows = min(self.group, 4)
        programs = self.batch * self.kv_heads * -(-self.group // rows)
        sms = multiprocessors(self.device)
        found = []
        for warps, keys, stages in TILES[self.kind]:
            tile = self.slots_a_warp * warps * keys
            most = max(1, self.capacity // tile)
            wanted = [min(most, max(1, fill * sms // programs), MAX_SPLITS) for fill in FILLS]
            for splits in (*(1 << (n.bit_length() - 1) for n in wanted), 1):
                one = AttentionSetting(warps, keys, stages, splits, rows)
                if one not in found:
                    found.append(one)
        return found


# (warps, keys, stages) by format: those near the fastest on an H200, head size 64, depth 1000.
TILES: dict[int, list[tuple[int, int, int]]] = {
    words.FP32.value: [(4, 2, 0), (2, 2, 0)],
    words.BF16.value: [(4, 2, 3), (2, 4, 0), (4, 1, 3)],
    words.FP16.value: [(4, 2, 3), (2, 4, 0), (4, 1, 3)],
    words.INT8.value: [(2, 4, 0), (4, 1, 3), (2, 2, 3)],
    words.INT4.value: [(2, 4, 1), (2, 2, 1), (4, 1, 3)],
}
FILLS = (1, 4)  # programs a multiprocessor that shares are made for
MAX_SPLITS = 64


def one_row(
    x: Tensor,
    layer: Any,
    out: Tensor,
    setting: RowSetting,
    norm: Any = None,
    gate: Any = None,
    gelu: bool = False,
    add: bool = False,
    pdl: bool = False,
) -> Launch:
    """out (N,) of x (K,), fp32: a Linear `layer` after `norm`, with its activation, or added.

    `gate` is SwiGLU's other Linear, without bias; `gelu` the tanh form; `add` adds to out.
    """
    w, bias = layer.weight, layer.bias
    (N, K), each = w.shape, setting.outputs * setting.tiles
    chunk = min(256 * max(1, setting.warps // setting.outputs), triton.next_power_of_2(K))
    kind, gain, shift, eps = norm_of(norm, w)
    args = (
        x, w, w if gate is None else gate.weight, w if bias is None else bias, gain, shift, out,
        N, eps,
    )  # fmt: skip
    constants = {
        "K": K,
        "CHUNK": chunk,
        "BN": setting.outputs,
        "TILES": setting.tiles,
        "NORM": kind,
        "SHIFT": norm is not None and getattr(norm, "bias", None) is not None,
        "ACTIVATION": activation_of(gelu, gate),
        "BIAS": bias is not None,
        "RESIDUAL": add,
        "PDL": pdl,
    }
    return Launch(linear.one_row, (triton.cdiv(N, each),), args, constants, setting.warps, pdl)


def few_rows(
    x: Tensor,
    layer: Any,
    out: Tensor,
    setting: RowsSetting,
    gate: Any = None,
    gelu: bool = False,
    pdl: bool = False,
) -> Launch:
    """Summands out (split, M, N) of x (M, K) by a Linear, with its activation where split is 1."""
    w, bias, M = layer.weight, layer.bias, x.size(0)
    N, K = w.shape
    activation = activation_of(gelu, gate)
    if activation and setting.split > 1:
        raise ValueError(f"split is {setting.split}; allowed before an activation: 1")
    height = min(64, max(16, triton.next_power_of_2(M)))
    args = (x, w, w if gate is None else gate.weight, w if bias is None else bias, out, M, N)
    constants = {
        "K": K,
        "BM": height,
        "BN": setting.outputs,
        "BK": setting.depth,
        "SPLIT": setting.split,
        "STAGES": setting.stages,
        "ACTIVATION": activation,
        "BIAS": bias is not None,
        "PDL": pdl,
        "MATRIX": w.dtype in HALVES and not words.INTERPRETED,
    }
    grid = (triton.cdiv(N, setting.outputs), setting.split, triton.cdiv(M, height))
    return Launch(linear.few_rows, grid, args, constants, setting.warps, pdl)


def embed(
    token: Tensor,
    position: Tensor,
    embedding: Tensor,
    positions: Tensor | None,
    speed: Tensor | None,
    x: Tensor,
    turn: Tensor | None,
    pdl: bool = False,
) -> Launch:
    """x (B, C) of token (B, 1) at position (1,); turn (2, D/2) of speed (D/2,) where rotary."""
    C, pairs = embedding.size(1), 0 if speed is None else speed.numel()
    args = (
        token, position, embedding, embedding if positions is None else positions,
        x if speed is None else speed, x, x if turn is None else turn, C,
    )  # fmt: skip
    constants = {
        "COLUMNS": triton.next_power_of_2(C),
        "PAIRS": pairs,
        "PAIR_COLUMNS": triton.next_power_of_2(max(1, pairs)),
        "LEARNED": positions is not None,
        "PDL": pdl,
    }
    return Launch(residual.embed, (token.numel(),), args, constants, 4, pdl)


def add_norm(
    x: Tensor, summands: Tensor | None, norm: Any, out: Tensor, pdl: bool = False
) -> Launch:
    """x (M, C), fp32, plus summands (PARTS, M, C), and its norm into out (M, C)."""
    M, C = x.shape
    kind, gain, shift, eps = norm_of(norm, x)
    args = (x, x if summands is None else summands, gain, shift, out, M, C, eps)
    constants = {
        "COLUMNS": triton.next_power_of_2(C),
        "PARTS": 0 if summands is None else summands.size(0),
        "NORM": kind,
        "SHIFT": getattr(norm, "bias", None) is not None,
        "PDL": pdl,
    }
    return Launch(residual.add_norm, (M,), args, constants, 4, pdl)


class Quantise:
    """Stores a prompt's rows in a cache of codes: `store(k, v, at)`, one launch for K and V.

    codes: int8 (B, H, S, D), or uint8 (B, H, S, D/2) with two INT4 codes; scales fp32 (B, H, S).
    Codes and scales are those of `kvbench.kernels.reference`, bit for bit.
    """

    def __init__(self, k: Tensor, v: Tensor, k_scale: Tensor, v_scale: Tensor) -> None:
        check_rows("k", k)
        if k.dtype not in CODES:
            raise ValueError(f"k: expected codes of int8 or uint8, got {k.dtype}")
        check_like("v", v, k.dtype, k.shape, k.device)
        check_like("k_scale", k_scale, torch.float32, k.shape[:3], k.device)
        check_like("v_scale", v_scale, torch.float32, k.shape[:3], k.device)
        self.k, self.v = k.view(torch.int32), v.view(torch.int32)
        self.k_scale, self.v_scale = k_scale, v_scale
        self.size = k.size(3) * (2 if k.dtype is torch.uint8 else 1)
        self.kind, self.per = KINDS[k.dtype], 4 if k.dtype is torch.int8 else 8

    def store(
        self, k: Tensor, v: Tensor, at: int, read: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """Write rows k, v (B, H, T, D), of any strides but in D, at positions at ... at + T - 1.

        read: two tensors (B, H, T, D) that receive the rows as they are stored, code times scale.
        """
        self.storing(k, v, at, read)()

    def read(self, n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The first n rows of K and of V (B, H, n, D), code times scale, rounded to dtype."""
        shape = (*self.k.shape[:2], n, self.size)
        k, v = (torch.empty(shape, dtype=dtype, device=self.k.device) for _ in "kv")
        self.reading(n, k, v)()
        return k, v

    def storing(
        self, k: Tensor, v: Tensor, at: int, read: tuple[Tensor, Tensor] | None = None
    ) -> Launch:
        """The launch of `store`."""
        B, heads, T, _ = k.shape
        wanted = (*self.k.shape[:2], T, self.size)
        for name, x in (("k", k), ("v", v)):
            if x.shape != wanted or x.stride(3) != 1:
                got = tuple(x.shape)
                raise ValueError(f"{name}: expected {wanted}, contiguous in D, got {got}")
        if at + T > self.k.size(2):
            raise ValueError(f"rows up to {at + T} exceed the capacity of {self.k.size(2)}")
        k_read, v_read = read or (k, v)
        args = (
            k, v, *k.stride()[:3], *v.stride()[:3], self.k, self.v, self.k_scale, self.v_scale,
            k_read, v_read, B * heads * T, heads, T, at, self.k.size(2),
        )  # fmt: skip
        constants = {**self._constants(), "READ": read is not None}
        return Launch(quantise.store_rows, self._grid(B * heads * T), args, constants)

    def reading(self, n: int, k: Tensor, v: Tensor) -> Launch:
        """The launch of `read`, into k and v."""
        rows = self.k.size(0) * self.k.size(1) * n
        args = (self.k, self.v, self.k_scale, self.v_scale, k, v, rows, n, self.k.size(2))
        return Launch(quantise.read_rows, self._grid(rows), args, self._constants())

    def _grid(self, rows: int) -> tuple[int, int]:
        return triton.cdiv(rows, quantise.ROWS), 2

    def _constants(self) -> dict[str, Any]:
        return {
            "D": self.size,
            "KIND": self.kind,
            "PER": self.per,
            "WORDS": triton.next_power_of_2(self.size // self.per),
            "ROWS": quantise.ROWS,
        }


def norm_of(norm: Any, like: Tensor) -> tuple[int, Tensor, Tensor, float]:
    """(kind, gain, shift, eps) of an nn.LayerNorm, an nn.RMSNorm or None."""
    if norm is None:
        return linear.NO_NORM.value, like, like, 0.0
    bias = getattr(norm, "bias", None)
    kind = linear.LAYER_NORM if isinstance(norm, torch.nn.LayerNorm) else linear.RMS_NORM
    shift = norm.weight if bias is None else bias
    eps = norm.eps if norm.eps is not None else torch.finfo(norm.weight.dtype).eps
    return kind.value, norm.weight, shift, eps


def activation_of(gelu: bool, gate: Any) -> int:
    """The kernels' name of what follows a product."""
    if gate is not None:
        return linear.SWIGLU.value
    return (linear.GELU if gelu else linear.NO_ACTIVATION).value


def multiprocessors(device: torch.device) -> int:
    """Multiprocessors of a device; a few under the interpreter, so that splits are tested."""
    if device.type != "cuda":
        return 2
    return torch.cuda.get_device_properties(device).multi_processor_count


def check_rows(name: str, x: Tensor) -> None:
    """Raise ValueError where a cache's tensor is none that the kernels can run on."""
    if x.dim() != 4 or x.dtype not in KINDS or not x.is_contiguous():
        got = f"{tuple(x.shape)} {x.dtype}"
        raise ValueError(f"{name}: expected contiguous (B, H, S, D), got {got}")
    if x.device.type == "cpu" and not words.INTERPRETED:
        raise ValueError(f"{name}: on {x.device}, where Triton needs TRITON_INTERPRET=1 to run")


def check_like(name: str, x: Tensor, dtype: torch.dtype, shape: Any, device: torch.device) -> None:
    """Raise ValueError where a tensor is not contiguous, of this dtype, shape and device."""
    if x.dtype is not dtype or x.shape != shape or x.device != device or not x.is_contiguous():
        raise ValueError(
            f"{name}: expected contiguous {tuple(shape)} of {dtype} on {device}, got "
            f"{tuple(x.shape)} of {x.dtype} on {x.device}"
        )
