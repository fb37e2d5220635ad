"""Whether a class is a cache that can be measured, and what it lacks.

On a CPU, at a small shape, in a second: the methods, the closed form of the bytes, and that
decoding token by token, in chunks and again after `rewind` gives the same attention.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kvbench.caches import BLOCK, Cache, Storage, cache_class
from kvbench.caches.dense import KVCache as Dense
from kvbench.costs.layout import Layout
from kvbench.kernels import reference

LAYERS, BATCH, HEADS, SIZE, CAPACITY = [0, 2], 2, 3, 16, 2 * BLOCK
TOKENS = BLOCK + 9  # past one block, so that what is settled by blocks is
RTOL, ATOL = 1e-4, 1e-5
WITHOUT_ROWS = (
    "no rows(layer): it is timed through its own attend(); with rows(layer) -> (K, V, scales of K, "
    "scales of V), None for scales where K and V are floats, the native kernels and captured or "
    "compiled steps can run it"
)


@dataclass
class CacheCheck:
    """What was found: `problems` are to be mended first, `notes` say what it goes without."""

    name: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the cache can be measured."""
        return not self.problems

    def __str__(self) -> str:
        said = [f"{self.name}: {'a cache that can be measured' if self.ok else 'not a cache yet'}"]
        said += [f"  problem: {line}" for line in self.problems]
        return "\n".join([*said, *(f"  note: {line}" for line in self.notes)])


class Unfit(Exception):  # noqa: N818 (ends the check, never leaves this module)
    """A problem after which nothing further can be looked at."""


def check_cache(cache: type | Storage) -> CacheCheck:
    """Look at a class, or at that of a file, a module or a description.

    Never raises for what is wrong with the class: that is in `problems`, a line each.
    """
    found = CacheCheck(cache.__name__ if isinstance(cache, type) else str(cache))
    try:
        kind = cache if isinstance(cache, type) else _loaded(cache)
        _interface(kind, found)
        held = _made(kind)
        _bytes(kind, held, found)
        whole = _attended(kind, [TOKENS])
        _steps(kind, whole, found)
        _rows(kind, found)
        _exactness(whole, found)
    except Unfit as problem:
        found.problems.append(str(problem))
    return found


def _loaded(name: Storage) -> type:
    with _saying("it cannot be loaded"):
        return cache_class(name)


@contextmanager
def _saying(what: str) -> Iterator[None]:
    """What the class itself raises, as one problem."""
    try:
        yield
    except Unfit:
        raise
    except Exception as error:
        raise Unfit(f"{what}: {type(error).__name__}: {error}".replace("\n", " ")) from None


def _interface(kind: object, found: CacheCheck) -> None:
    """The methods of `kvbench.caches.Cache`."""
    if not inspect.isclass(kind) or not issubclass(kind, Cache):
        raise Unfit("it is not a subclass of kvbench.caches.Cache, which has all but five methods")
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    for name in missing:
        method = getattr(Cache, name)
        taken = [p for p in inspect.signature(method).parameters if p != "self"]
        found.problems.append(f"{name}({', '.join(taken)}) is missing: {inspect.getdoc(method)}")
    if missing:
        raise Unfit("nothing further was looked at")


def _made(kind: type[Cache]) -> Cache:
    with _saying("it cannot be made as KVCache(layers, batch, n_head, head_dim, capacity, ...)"):
        return kind(LAYERS, BATCH, HEADS, SIZE, CAPACITY, torch.float32, "cpu")


def _bytes(kind: type[Cache], held: Cache, found: CacheCheck) -> None:
    """The closed form against what is allocated."""
    with _saying("layout(head_dim, itemsize) fails"):
        layout = kind.layout(SIZE, 4)
    if not isinstance(layout, Layout):
        raise Unfit("layout(head_dim, itemsize) returns no kvbench.costs.layout.Layout")
    with _saying("storages() fails"):
        reserved = held.reserved_bytes()
    expected = len(LAYERS) * BATCH * HEADS * layout.bytes(CAPACITY)
    if reserved != expected:
        found.problems.append(
            f"storages() hold {reserved:,} bytes for {CAPACITY} tokens where layout() says "
            f"{expected:,}: every tensor that outlives a step counts, scales too"
        )


def _inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Seeded q, k and v (B, n_head, T, head_dim); channels of K are of unlike size."""
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(BATCH, HEADS, TOKENS, SIZE, generator=draw) for _ in range(3))
    return q, k * torch.linspace(0.5, 2, SIZE), v


def _attended(kind: type[Cache], chunks: list[int], rewound: bool = False) -> Tensor:
    """The attention of tokens that are stored in chunks.

    `rewound`: the last chunk is first stored with other numbers, which are then to be forgotten.
    """
    held, inputs = _made(kind), _inputs()
    parts = list(zip(*(x.split(chunks, 2) for x in inputs), strict=True))
    with _saying("update(), attend() or advance() fails"):
        out = [_step(held, *part) for part in parts[:-1]]
    if rewound:
        _step(held, *(-x for x in parts[-1]))
        with _saying("rewind(length) fails"):
            held.rewind(TOKENS - chunks[-1])
    with _saying("update(), attend() or advance() fails"):
        return torch.cat([*out, _step(held, *parts[-1])], 2)


def _step(held: Cache, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    for layer in LAYERS:
        held.update(layer, k, v)
    out = [held.attend(layer, q) for layer in LAYERS][0]
    held.advance(q.size(2))
    if out.shape != q.shape or out.dtype != q.dtype:
        raise Unfit(
            f"attend() returns {tuple(out.shape)} in {out.dtype}; allowed: the shape and dtype of "
            f"q, here {tuple(q.shape)} in {q.dtype}"
        )
    return out


def _steps(kind: type[Cache], whole: Tensor, found: CacheCheck) -> None:
    """Decoding is one forward, in chunks of any size, and a step can be repeated."""
    if not bool(whole.isfinite().all()):
        raise Unfit("attend() returns numbers that are not finite")
    ways: dict[str, Callable[[], Tensor]] = {
        "token by token": lambda: _attended(kind, [1] * TOKENS),
        "in chunks": lambda: _attended(kind, [5, 1, TOKENS - 7, 1]),
        "again after rewind()": lambda: _attended(kind, [TOKENS - 1, 1], rewound=True),
    }
    for said, run in ways.items():
        decoded = run()
        if not torch.allclose(decoded, whole, rtol=RTOL, atol=ATOL):
            difference = float((decoded - whole).abs().max())
            found.problems.append(
                f"{said}, attention differs by up to {difference:.2g} from that of one forward: it "
                "must see the same tokens whichever way they came"
            )


def _rows(kind: type[Cache], found: CacheCheck) -> None:
    """What kernels read of it, and write into it, where it has rows."""
    if not hasattr(kind, "rows"):
        found.notes.append(WITHOUT_ROWS)
        return
    held, (_, k, v) = _made(kind), _inputs()
    held.update(LAYERS[0], k, v)
    with _saying("rows(layer) does not give four: K, V, and their scales or None"):
        stored_k, stored_v, k_scale, v_scale = held.rows(LAYERS[0])  # type: ignore[attr-defined]
    for name, x, stored, scale in (("K", k, stored_k, k_scale), ("V", v, stored_v, v_scale)):
        if tuple(stored.shape[:3]) != (BATCH, HEADS, CAPACITY) or stored.ndim != 4:
            raise Unfit(
                f"rows(layer) gives {name} of shape {tuple(stored.shape)}; allowed: (B, n_head, "
                f"capacity, ...), here {(BATCH, HEADS, CAPACITY)} and one more"
            )
        if stored.is_floating_point() != (scale is None):
            raise Unfit(f"rows(layer) must give scales of {name} for codes, None for floats")
        kept = stored[:, :, :TOKENS]
        if scale is None:
            same = torch.equal(kept, x)
        else:
            codes, scales = reference.quantise(stored.dtype)(x)
            same = kept.shape == codes.shape and torch.equal(kept, codes)
            same = same and torch.equal(scale[:, :, :TOKENS], scales)
        if not same:
            found.problems.append(
                f"rows(layer) holds other numbers of {name} than kernels write there (floats as "
                "they are, int8 and int4 codes of kvbench.kernels.reference): leave rows out, or "
                "store those"
            )


def _exactness(whole: Tensor, found: CacheCheck) -> None:
    """How far its attention is from the plain cache's, at this shape and random numbers."""
    plain = _attended(Dense, [TOKENS])
    error = float((whole - plain).norm() / plain.norm())
    if error:
        found.notes.append(
            f"its attention is {100 * error:.2g} % from the plain cache's, on random numbers; "
            "benchmark perplexity says what that costs a model"
        )
