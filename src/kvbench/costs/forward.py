"""The cost model: parameters, FLOP and bytes of a forward, from the shape alone. Stdlib only.

A multiply-add is 2 FLOP; norms, softmax, rotations and activation functions are not counted. Bytes
are compulsory traffic: each weight read once, each cached row read once, each new row written once;
activations are taken to stay on chip. So bytes are a lower bound, and bytes / bandwidth a floor of
the time.

Symbols: L layers, d = n_embd, a = n_head head_dim (which is d, unless the shape says head_dim),
V = vocab_size, B batch, T new tokens, C tokens attended to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from kvbench.costs.layout import Layout, equal_rows
from kvbench.files import Json
from kvbench.shape import Shape

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

    def to_dict(self) -> Json:
        """The parts and their total, for a record."""
        return {**asdict(self), "bytes": self.bytes, "intensity": self.intensity}


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of costs, part by part."""
    parts = ((c.flop, c.weight_bytes, c.kv_read_bytes, c.kv_write_bytes) for c in costs)
    return Cost(*map(sum, zip(*parts, strict=True)))


def n_params(shape: Shape, owner: Sequence[int]) -> dict[str, int]:
    """Parameters of a shape by part; a tied head is `wte` and not counted again.

    A borrowing layer has no K/V projection: 2 (d^2 + d) fewer parameters in GPT-2.
    """
    return {part: sum(numbers) for part, numbers in _parts(shape, owner).items()}


def _parts(shape: Shape, owner: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Each part's parameters in matrices, which are multiplied, and in vectors, only read."""
    L, d, owning = shape["n_layer"], shape["n_embd"], len(set(owner))
    a = head_dim(shape) * shape["n_head"]
    kv = head_dim(shape) * shape.get("n_kv_head", shape["n_head"])  # channels of K, and of V
    rows = L * a + 2 * kv * owning  # of all c_attn: Q in every layer, K and V in owners
    attention, wte = rows * d + L * a * d, shape["vocab_size"] * d
    head = 0 if shape.get("tied", True) else wte
    if shape.get("arch") == "llama":
        inner, norms = shape["n_inner"], L * d * (2 if shape.get("norm") == "both" else 1)
        of_qk = {"head": (L + owning) * head_dim(shape), "whole": L * a + owning * kv}
        read = norms + of_qk.get(shape.get("qk_norm", "none"), 0)
        read += rows * shape.get("qkv_bias", False) + L * d * shape.get("o_bias", False)
        return {
            "wte": (wte, 0),
            "wpe": (0, 0),
            "attention": (attention, read),
            "mlp": (3 * L * d * inner, norms + L * (2 * inner + d) * shape.get("mlp_bias", False)),
            "ln_f": (0, d),
            "head": (head, 0),
        }
    bias, inner = int(shape.get("bias", True)), shape.get("n_inner") or 4 * d
    norm = d + bias * d
    return {
        "wte": (wte, 0),
        "wpe": (0 if shape.get("rope_share") else shape["block_size"] * d, 0),
        "attention": (attention, bias * (rows + L * d) + L * norm),
        "mlp": (2 * L * d * inner, bias * L * (inner + d) + L * norm),
        "ln_f": (0, norm),
        "head": (head, 0),
    }


def head_dim(shape: Shape) -> int:
    """Channels of one head."""
    return shape.get("head_dim") or shape["n_embd"] // shape["n_head"]


def weight_bytes(shape: Shape, owner: Sequence[int], dtype: str) -> int:
    """Bytes of all parameters, as stored."""
    return sum(n_params(shape, owner).values()) * ITEMSIZE[dtype]


def kv_heads(shape: Shape, owner: Sequence[int], batch: int) -> int:
    """K/V heads held, over all owning layers and `batch` sequences."""
    return len(set(owner)) * batch * shape.get("n_kv_head", shape["n_head"])


def kept_bytes(shape: Shape, owner: Sequence[int], batch: int, kept: Layout, tokens: int) -> int:
    """Bytes that a cache of this layout keeps of `tokens` tokens: no more than layers see."""
    layers = _layers(shape, set(owner), owner, kept)
    return kv_heads(shape, [0], batch) * sum(n * one.bytes(tokens) for one, n in layers)


def _layers(
    shape: Shape, layers: Iterable[int], owner: Sequence[int], kept: Layout
) -> list[tuple[Layout, int]]:
    """The layouts in which these layers see a cache, each with how many do."""
    windows, n_layer = shape.get("windows"), shape["n_layer"]
    layouts = (kept.at(owner[i], n_layer, windows[i] if windows else 0) for i in layers)
    return list(Counter(layouts).items())


def forward(
    shape: Shape,
    owner: Sequence[int],
    dtype: str,
    batch: int,
    depth: int,
    T: int,
    row_bytes: int | Layout | None,
    reread: bool = True,
) -> Cost:
    """One forward of T new tokens after `depth` cached ones, with logits of the last position.

    `row_bytes` is what the cache stores for one K or V row of one head, scales included, or its
    Layout where rows differ; None where there is no cache, and `depth` is then 0. A borrower reads
    its owner's rows again: sharing saves memory and K/V weights, not reads. An on-chip cache may
    serve that second read: without `reread`, shared rows count once, the strict lower bound.
    Where rows are rotated, the products of Q and K with the rotation count as well.
    """
    return stepper(shape, owner, dtype, batch, row_bytes, reread)(depth, T)


def stepper(
    shape: Shape,
    owner: Sequence[int],
    dtype: str,
    batch: int,
    row_bytes: int | Layout | None,
    reread: bool = True,
) -> Callable[[int, int], Cost]:
    """`forward` as a function of depth and T alone, for those who ask it of many."""
    L, d, V = shape["n_layer"], shape["n_embd"], shape["vocab_size"]
    params = n_params(shape, owner)
    matrices = sum(_parts(shape, owner)[part][0] for part in ("attention", "mlp"))
    kept = row_bytes if isinstance(row_bytes, Layout) else equal_rows(row_bytes or 0)
    touched = params["attention"] + params["mlp"] + params["ln_f"] + V * d  # the last the head's
    weights = touched * ITEMSIZE[dtype]
    heads, seen = kv_heads(shape, [0], batch), _layers(shape, range(L), owner, kept)
    own = _layers(shape, set(owner), owner, kept)
    written = heads * sum(n * one.row for one, n in own)
    read = seen if reread else own
    size = head_dim(shape)
    a = size * shape["n_head"]
    turned = L * shape["n_head"] + kv_heads(shape, owner, 1) if kept.rotated else 0  # rows a token

    def step(depth: int, T: int) -> Cost:
        flop = 2 * batch * (T * (matrices + turned * size**2) + d * V)
        flop += 4 * batch * a * sum(n * one.pairs(depth, T) for one, n in seen)
        rows = sum(n * one.bytes(depth + T) for one, n in read)
        return Cost(flop, weights, heads * rows, T * written)

    return step


def generation(
    shape: Shape,
    owner: Sequence[int],
    dtype: str,
    batch: int,
    prompt: int,
    T: int,
    row_bytes: int | Layout | None,
    reread: bool = True,
) -> dict[str, Cost]:
    """The forwards of T tokens after a prompt: the `prefill`, and the sum of the `decode` steps.

    Step by step as `generate` goes: without a cache every step recomputes its window, and past
    block_size every version does. `decode` is absent where T is 1.
    """

    one = stepper(shape, owner, dtype, batch, row_bytes, reread)

    def step(end: int) -> Cost:
        cached = end - 1 if row_bytes is not None and prompt < end <= shape["block_size"] else 0
        return one(cached, min(end, shape["block_size"]) - cached)

    parts = {"prefill": step(prompt)}
    if T > 1:
        parts["decode"] = total(map(step, range(prompt + 1, prompt + T)))
    return parts


def generation_ceiling(baseline: dict[str, Cost], version: dict[str, Cost]) -> tuple[float, str]:
    """The largest speed-up of a whole generation, and what sets it (`decode bytes`).

    Prefill and decode may each be under either roof, and a whole cannot speed up by more than its
    part that speeds up most: so the largest ratio, over both parts, of bytes and of FLOP.
    """
    return max(
        (getattr(baseline[part], key) / getattr(version[part], key), f"{part} {name}")
        for part in version
        for key, name in (("bytes", "bytes"), ("flop", "FLOP"))
    )
