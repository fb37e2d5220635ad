"""Decode attention bound to a cache's tensors (`kernels.triton.attention`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kvbench.kernels.triton import attention, words
from kvbench.kernels.triton.bound.launch import Launch, stored

# (warps, keys, stages) by format: those near the fastest on an H200, head size 64, depth 1000.
TILES: dict[int, list[tuple[int, int, int]]] = {
    words.FP32.value: [(4, 2, 0), (2, 2, 0)],
    words.BF16.value: [(4, 2, 3), (2, 4, 0), (4, 1, 3)],
    words.FP16.value: [(4, 2, 3), (2, 4, 0), (4, 1, 3)],
    words.INT8.value: [(2, 4, 0), (4, 1, 3), (2, 2, 3)],
    words.INT4.value: [(2, 4, 1), (2, 2, 1), (4, 1, 3)],
    words.E4M3.value: [(2, 2, 0), (4, 1, 3), (2, 2, 3)],  # not measured
    words.E5M2.value: [(2, 2, 0), (4, 1, 3), (2, 2, 3)],  # not measured
}
FILLS = (1, 4)  # programs a multiprocessor that shares are made for
MAX_SPLITS = 64


@dataclass(frozen=True)
class AttentionSetting:
    """How `attend` runs: a tile is slots_a_warp * warps keys side by side, `keys` times in turn."""

    warps: int = 4
    keys: int = 1
    stages: int = 0
    splits: int = 1
    rows: int = 1  # query heads of a group that a program takes
    pdl: int = 0


class Attention:
    """Decode attention over one bound cache, appending the new token if it `owns` the rows.

    k, v: each in a format of its own, and k_scale, v_scale, as `bound.launch.stored` takes them;
    `blocks` and `turned` are of both. `heads` are the query heads. Raises ValueError where a tensor
    does not fit.
    """

    def __init__(
        self,
        heads: int,
        k: Tensor,
        v: Tensor,
        k_scale: Tensor | None = None,
        v_scale: Tensor | None = None,
        owns: bool = True,
        blocks: tuple[bool, bool] = (False, False),
        turned: tuple[bool, bool] = (False, False),
    ) -> None:
        self.k = stored("k", k, k_scale, blocks[0], turned[0])
        self.v = stored("v", v, v_scale, blocks[1], turned[1])
        if self.v.shape != self.k.shape or self.v.size != self.k.size:
            raise ValueError(
                f"v: expected the batch, heads, positions and head size of k, {tuple(k.shape)} of "
                f"{k.dtype}, got {tuple(v.shape)} of {v.dtype}"
            )
        if v.device != k.device:
            raise ValueError(f"v: on {v.device}, but k is on {k.device}")
        self.batch, self.kv_heads, self.capacity = self.k.shape
        if heads % self.kv_heads:
            raise ValueError(
                f"heads is {heads}; allowed: a multiple of {self.kv_heads}, those of k"
            )
        self.heads, self.group, self.owns = heads, heads // self.kv_heads, owns
        self.size, self.device = self.k.size, k.device
        self.scale = self.size**-0.5  # of the softmax
        self.width = (heads + (2 * self.kv_heads if owns else 0)) * self.size

    @property
    def format(self) -> str:
        """How K and V are stored."""
        return " ".join(f"{one.format} {one.scale.dtype}" for one in (self.k, self.v))

    @property
    def slots_a_warp(self) -> int:
        """Keys that one warp reads side by side, 16 bytes a thread of the wider row."""
        return max(1, 32 * 4 // max(self.k.format.width, self.v.format.width))

    def launch(
        self,
        qkv: Tensor,
        position: Tensor,
        out: Tensor,
        setting: AttentionSetting | None = None,
        turn: Tensor | None = None,
    ) -> Launch:
        """The kernel for one step: out (B, Hq * D) of qkv (B, width), fp32.

        width is q's, then k's and v's where the rows are owned. position: the new token's index,
        int64 (1,) on the device; it is not checked, since that would wait for the device. turn:
        fp32 (2, D/2), cosines and sines, for rotary positions.
        """
        setting = setting or self.choices()[0]
        expected = self.batch, self.width
        if qkv.shape != expected or qkv.dtype is not torch.float32 or qkv.stride(1) != 1:
            raise ValueError(f"qkv: expected fp32 {expected}, got {tuple(qkv.shape)}")
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
            qkv, qkv.stride(0), qkv if turn is None else turn,
            self.k.words, self.v.words, self.k.scale, self.v.scale,
            position, part, tops, sums, arrived, out, self.capacity, self.scale,
        )  # fmt: skip
        constants = {
            "KV_HEADS": self.kv_heads,
            "GROUP": self.group,
            "ROWS": setting.rows,
            "D": self.size,
            "K": self.k.format.constants(),
            "V": self.v.format.constants(),
            "SLOTS": self.slots_a_warp * setting.warps,
            "KEYS": setting.keys,
            "STAGES": setting.stages,
            "SPLITS": splits,
            "APPEND": self.owns,
            "ROTARY": turn is not None,
            "PDL": setting.pdl,
        }
        grid = (programs, splits)
        return Launch(attention.attend, grid, args, constants, setting.warps, setting.pdl > 0)

    def choices(self) -> list[AttentionSetting]:
        """Settings worth measuring, the best guess first."""
        parts = self.k.format, self.v.format
        rows = min(self.group, 2 if any(one.per > 2 for one in parts) else 4)  # more would spill
        grouped = any(one.grouped for one in parts)
        programs = self.batch * self.kv_heads * -(-self.group // rows)
        sms = multiprocessors(self.device)
        found = []
        for warps, keys, stages in dict.fromkeys(tile for one in parts for tile in TILES[one.kind]):
            keys = 1 if rows > 2 else keys // 2 if grouped and keys > 1 else keys  # likewise
            tile = self.slots_a_warp * warps * keys
            most = max(1, self.capacity // tile)
            wanted = [min(most, max(1, fill * sms // programs), MAX_SPLITS) for fill in FILLS]
            for splits in (*(1 << (n.bit_length() - 1) for n in wanted), 1):
                one = AttentionSetting(warps, keys, stages, splits, rows)
                if one not in found:
                    found.append(one)
        return found


def multiprocessors(device: torch.device) -> int:
    """Multiprocessors of a device; a few under the interpreter, so that splits are tested."""
    if device.type != "cuda":
        return 2
    return torch.cuda.get_device_properties(device).multi_processor_count
