"""Linear layers, norms and the embedding bound to a model's modules (`kernels.triton.linear`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from kvbench.kernels.triton import linear, residual, words
from kvbench.kernels.triton.bound.launch import Launch

HALVES = (torch.bfloat16, torch.float16)


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
