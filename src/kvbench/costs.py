"""The cost model: parameters, FLOP and bytes of a forward, from the shape alone. Stdlib only.

A multiply-add is 2 FLOP; norms, softmax and GELU are not counted. Bytes are compulsory traffic:
each weight read once, each cached row read once, each new row written once; activations are taken
to stay on chip. So bytes are a lower bound, and bytes / bandwidth a floor of the time.

Symbols: L layers, d = n_embd, V = vocab_size, B batch, T new tokens, C tokens attended to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

ITEMSIZE = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Cost:
    """FLOP and bytes of one forward."""

    flop: int
    weight_bytes: int
    kv_read_bytes: int
    kv_write_bytes: int

    @property
    def bytes(self) -> int:
        """All compulsory bytes."""
        return self.weight_bytes + self.kv_read_bytes + self.kv_write_bytes

    @property
    def intensity(self) -> float:
        """Arithmetic intensity, FLOP per byte."""
        return self.flop / self.bytes

    def to_dict(self) -> dict[str, Any]:
        """The parts and their total, for a record."""
        return {**asdict(self), "bytes": self.bytes, "intensity": self.intensity}


def n_params(shape: dict[str, Any], owner: Sequence[int]) -> dict[str, int]:
    """Parameters of a GPT-2 shape by part; the head is tied to `wte` and not counted again.

    A borrowing layer has no K/V projection: 2 (d^2 + d) fewer parameters.
    """
    L, d, bias = shape["n_layer"], shape["n_embd"], int(shape.get("bias", True))
    norm = d + bias * d
    qkv = _projections(owner) * (d * d + bias * d)
    return {
        "wte": shape["vocab_size"] * d,
        "wpe": shape["block_size"] * d,
        "attention": qkv + L * (norm + d * d + bias * d),
        "mlp": L * (norm + 8 * d * d + bias * 5 * d),
        "ln_f": norm,
    }


def weight_bytes(shape: dict[str, Any], owner: Sequence[int], dtype: str) -> int:
    """Bytes of all parameters, as stored."""
    return sum(n_params(shape, owner).values()) * ITEMSIZE[dtype]


def kv_rows(shape: dict[str, Any], owner: Sequence[int], batch: int, tokens: int) -> int:
    """K and V rows (one head, one token) held for `tokens` tokens of `batch` sequences."""
    return 2 * len(set(owner)) * batch * shape.get("n_kv_head", shape["n_head"]) * tokens


def forward(
    shape: dict[str, Any],
    owner: Sequence[int],
    dtype: str,
    batch: int,
    depth: int,
    T: int,
    row_bytes: int | None,
) -> Cost:
    """One forward of T new tokens after `depth` cached ones, with logits of the last position.

    `row_bytes` is what the cache stores for one K or V row of one head, scales included; None where
    there is no cache, and `depth` is then 0. A borrower reads its owner's rows again: sharing saves
    memory and K/V weights, not reads.
    """
    L, d, V, nh = shape["n_layer"], shape["n_embd"], shape["vocab_size"], shape["n_head"]
    params = n_params(shape, owner)
    matrices = params["attention"] + params["mlp"] - _vectors(shape, owner)
    attended = T * depth + T * (T + 1) // 2  # sum over new tokens of the context each one sees
    flop = 2 * batch * (T * matrices + d * V) + 4 * batch * d * attended * L
    read = written = 0
    if row_bytes is not None:
        written = kv_rows(shape, owner, batch, T) * row_bytes
        read = 2 * L * batch * shape.get("n_kv_head", nh) * (depth + T) * row_bytes
    touched = params["attention"] + params["mlp"] + params["ln_f"] + params["wte"]  # head reads wte
    return Cost(flop, touched * ITEMSIZE[dtype], read, written)


def _vectors(shape: dict[str, Any], owner: Sequence[int]) -> int:
    """Biases and norms inside the blocks: read, but not multiplied as matrices."""
    L, d, bias = shape["n_layer"], shape["n_embd"], int(shape.get("bias", True))
    return _projections(owner) * bias * d + L * (2 * (d + bias * d) + bias * 6 * d)


def _projections(owner: Sequence[int]) -> int:
    """How many of Q, K, V all layers project: 3 in an owner, Q alone in a borrower."""
    return sum(3 if source == layer else 1 for layer, source in enumerate(owner))


def ceiling(baseline: Cost, version: Cost) -> float:
    """The largest speed-up bytes allow: baseline bytes over the version's, at one bandwidth."""
    return baseline.bytes / version.bytes
