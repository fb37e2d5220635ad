"""The library: load a model as a version, read results, compare, check a cache of one's own.

`import kvbench` gives these names (docs/api.md). What is heavy is imported by the function that
needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kvbench import versions
from kvbench.files import Json
from kvbench.records.names import names_of
from kvbench.records.record import TIMED
from kvbench.report.frames import Frame, Results, read_results

if TYPE_CHECKING:
    from torch import Tensor

    from kvbench.analysis.sentences import Answer
    from kvbench.caches import Cache
    from kvbench.caches.check import CacheCheck
    from kvbench.models.base import LanguageModel

__all__ = ["LoadedModel", "check_cache", "compare", "load", "read_results", "verdicts"]

PLACES = ("batch_size", "T", "depth")


@dataclass(frozen=True)
class LoadedModel:
    """A model that runs as one version, on CUDA where there is one, else on the CPU."""

    name: str  # of the cache: dense, int8, ...
    version: str
    preset: str
    dtype: str
    model: LanguageModel = field(repr=False)

    def new_cache(self, batch: int = 1, tokens: int | None = None) -> Cache:
        """An empty cache of the version, with room for `tokens` tokens (default: block_size)."""
        return self.model.new_cache(batch, tokens or self.model.config.block_size)

    def generate(
        self,
        prompt: Tensor | Sequence[int] | Sequence[Sequence[int]],
        n: int,
        *,
        temperature: float = 0.0,
        top_k: int | None = None,
        seed: int = 42,
        cache: Cache | None = None,
    ) -> Tensor:
        """Token ids (B, T + n): `n` more for each sequence of `prompt` (B, T), or of one (T,).

        Temperature 0 is greedy. `cache` is emptied and used; without one a new cache is made.
        Raises ValueError for a prompt that is empty, of another shape, or holds an id that the
        model has no embedding of.
        """
        import torch

        from kvbench.engine.generate import Sampler, generate, greedy

        like, size = self.model.lm_head.weight, self.model.config.vocab_size
        tokens = torch.as_tensor(prompt, dtype=torch.long, device=like.device)
        tokens = tokens.unsqueeze(0) if tokens.ndim == 1 else tokens
        if tokens.ndim != 2 or not tokens.numel():
            raise ValueError(
                f"prompt has the shape {tuple(tokens.shape)}; allowed: (B, T), or (T,), not empty"
            )
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= size:
            raise ValueError(
                f"prompt has the id {low if low < 0 else high}; {self.preset} has the ids 0 to "
                f"{size - 1}"
            )
        pick = Sampler(temperature, top_k, seed) if temperature else greedy
        return generate(self.model, tokens, n, cache, pick)

    @cached_property
    def bytes_per_token(self) -> int:
        """Bytes that one more token of one sequence takes in the cache, scales included.

        By the closed form of the format; where tokens differ in bytes, the mean over block_size.
        """
        from kvbench.caches import layout_of

        config, stored = self.model.config, self.model.storage
        assert stored is not None  # of every model that `load` made
        layout = layout_of(stored, config.head_dim, self.model.lm_head.weight.itemsize)
        windows, tokens = config.windows or [0] * config.n_layer, config.block_size
        own = (layout.at(i, config.n_layer, windows[i]) for i in config.owning_layers)
        kept = sum(one.bytes(tokens) for one in own)
        return round(config.n_kv_head * kept / tokens)


def check_cache(cache: type | str) -> CacheCheck:
    """What is missing of a cache, before it is measured: see `kvbench.caches.check`.

    `cache` is a class, a file `my_cache.py` or a dotted module with a class `KVCache`. `str()` of
    what is returned says it in lines; `ok` is whether it can be measured.
    """
    from kvbench.caches import check

    return check.check_cache(cache)


def load(
    preset: str = "gpt2",
    version: str = "dense",
    dtype: str = "bfloat16",
    weights: str | None = None,
    seed: int = 42,
) -> LoadedModel:
    """A model of a preset, ready to run as a version, by name or number.

    `weights` is a safetensors file; without one the parameters are seeded random numbers, which
    time and weigh the same as trained ones. Raises ValueError, with the known ones, for an unknown
    preset, version or dtype.
    """
    number = versions.version_of(version)
    model, _ = versions.load_model_for_version(number, preset, dtype, weights, seed)
    return LoadedModel(versions.NAMES[number], number, preset, dtype, model)


def compare(
    frame: Frame, version: str, baseline: str, margin: float = 0.02, **where: int | str
) -> Answer:
    """Which of two versions is faster: speed-up, 95 % interval and word, as an `Answer`.

    `frame` is `results.latency` or `results.decode`, or rows of it; `where` picks the one place to
    compare at, by `model`, `batch_size`, `T` or `depth`, where there are several. Above 1 the
    version is faster. Processes are paired by round, and the machine's drift is taken out as in the
    verdict table, which states wider intervals: it makes many comparisons, this is one. Raises
    ValueError, naming what there is, for versions or places that the frame does not hold.
    """
    from kvbench.analysis import answers
    from kvbench.analysis.drift import exponents
    from kvbench.analysis.verdicts import judge

    cells = _timed(frame)
    names = names_of(cells)
    a, b = (_among(names, name) for name in (version, baseline))
    if a == b:
        raise ValueError(f"{version!r} and {baseline!r} are one version: name two")
    asked = {"pretrained" if key == "model" else key: value for key, value in where.items()}
    for key, value in asked.items():
        if key not in ("pretrained", *PLACES):
            raise TypeError(f"compare() takes model, {', '.join(PLACES)} as places, not {key!r}")
        if value not in (known := {cell[key] for cell in cells if key in cell}):
            there = ", ".join(map(str, sorted(known))) or "none"
            raise ValueError(f"no cell at {key}={value!r}; there are: {there}")
    here = [c for c in cells if all(c.get(key) == value for key, value in asked.items())]
    places: dict[tuple[Any, ...], Json] = {}
    for cell in here:
        place = tuple(cell.get(name) for name in ("pretrained", "benchmark_name", *PLACES))
        places.setdefault(place, {})[cell["version"]] = cell
    both = [found for found in places.values() if {a, b} <= found.keys()]
    if not both:
        raise ValueError(f"no place where both {version!r} and {baseline!r} were timed")
    if len(both) > 1:
        raise ValueError(f"{len(both)} places to compare at; choose one: {_choices(both)}")
    pair = [both[0][a], both[0][b]]
    kind = {key: pair[0][key] for key in ("pretrained", "benchmark_name")}
    # The pace of the machine is that of all cells, whichever rows were selected.
    drift = exponents([c for c in frame.records if all(c[key] == kind[key] for key in kind)])
    record = judge(pair, margin, wanted=lambda _: [(a, b)], drift=drift)
    return answers.speed(record, names)[0]


def verdicts(frame: Frame, margin: float = 0.02) -> Frame:
    """Every comparison of the verdict table on a frame's cells, one row each, as one family.

    dense against none, the others against dense, at each batch and T or depth: `speedup` with
    `speedup_low` and `speedup_high`, the word `verdict`, and the columns of docs/method.md. Raises
    ValueError for a frame of several models: select one.
    """
    from kvbench.analysis.verdicts import judge

    cells = _timed(frame)
    models = list(dict.fromkeys(cell["pretrained"] for cell in cells))
    if len(models) > 1:
        raise ValueError(f"verdicts are of one model; there are: {', '.join(models)}")
    record, names = judge(cells, margin), names_of(cells)
    found = Frame(record["rows"])
    for place, key in enumerate(("version", "baseline")):
        found.insert(place, ("cache", "against")[place], [names[v] for v in found[key]])
    found.records = cells
    return found


def _timed(frame: Frame | Results) -> list[Json]:
    """The records of the timed cells that a frame's rows are of."""
    records = getattr(frame, "records", None)
    if records is None:
        raise ValueError(
            "this frame has no records behind it: give results.latency or results.decode of "
            "read_results(), or rows of them"
        )
    timed = [record for record in records if record["benchmark_name"] in TIMED]
    if isinstance(frame, Frame):
        shown = frame[_keys(frame)].astype(object)
        kept = set(shown.where(shown.notna(), None).itertuples(index=False, name=None))
        timed = [cell for cell in timed if _key(cell, _keys(frame)) in kept]
    if not timed:
        raise ValueError("no timed cells among these rows: give results.latency or results.decode")
    return timed


def _keys(frame: Frame) -> list[str]:
    return [key for key in ("model", "version", *PLACES) if key in frame]


def _key(cell: Json, keys: list[str]) -> tuple[Any, ...]:
    return tuple(cell.get("pretrained" if key == "model" else key) for key in keys)


def _among(names: dict[str, str], name: str) -> str:
    """The version that a name or number means among these."""
    by_name = {called: version for version, called in names.items()}
    if (version := by_name.get(name, name)) in names:
        return version
    there = ", ".join(f"{called} ({version})" for version, called in names.items())
    raise ValueError(f"no cell of {name!r}; there are: {there}")


def _choices(places: Sequence[dict[str, Json]]) -> str:
    """`T=8, T=16`: what tells places apart."""
    first = [next(iter(place.values())) for place in places]
    said = []
    for key in ("pretrained", *PLACES):
        values = list(dict.fromkeys(cell[key] for cell in first if key in cell))
        if len(values) > 1:
            name = "model" if key == "pretrained" else key
            said.append(f"{name}={'|'.join(map(str, values))}")
    return ", ".join(said) or "rows of results.latency or of results.decode alone"
