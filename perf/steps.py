"""Targets of the decode step: two ways to run it, or a version and v1, in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from kvbench.bench import roofs
from kvbench.bench.roofline import step_over
from kvbench.bench.setup import Setup, ready
from kvbench.caches import layout_of
from kvbench.cell import Cell
from kvbench.costs import forward as costs
from kvbench.files.placeholder import NotMeasuredError
from kvbench.plan import cells
from kvbench.plan.config import load_schema, resolve
from kvbench.plan.config_types import Config
from perf.turns import Turn, alternate, repeated

EAGER = {"execution": "eager", "kernel": "torch"}  # operators as torch has them


def cell(settings: dict[str, Any], version: str = "v1", **how: str) -> Cell:
    """The decode cell of one version: the preset's shape, its context as wide as the depth asks."""
    config = study(settings)
    deepest = max(settings["depths"])
    found = cells.cell(config, "decode", settings["preset"], version, depth=deepest)
    shape = found.model_config | {"block_size": max(found.model_config["block_size"], deepest + 1)}
    return found.replace(model_config=shape, **how)


def random_weights(folder: str | None, preset: str) -> str | None:
    """The file of a preset's random weights; None where there is none, and they are drawn."""
    path = Path(folder or "") / f"{preset}.safetensors"
    return str(path) if folder and path.exists() else None


def tensors(settings: dict[str, Any]) -> str | None:
    """The file of the row's weights, likewise."""
    return random_weights(settings.get("tensors"), settings["preset"])


def study(settings: dict[str, Any]) -> Config:
    """A configuration of the row's preset, dtype and device; one thread."""
    preset = {"pretrained": settings["preset"]}
    if "shape" in settings:
        preset = {"pretrained": None, "model_config": settings["shape"]}
    device = settings.get("device", "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise NotMeasuredError("torch sees no CUDA device")
    asked = {**preset, "dtype": settings["dtype"], "device": device, "benchmarks": ["latency"]}
    return resolve(asked, load_schema())


def over_eager(settings: dict[str, Any]) -> dict[str, Any]:
    """v1's step run as fast as this machine can, over the same step by torch's own operators."""
    library = settings["library"] if settings.get("compiler", True) else None
    eagerly, path = cell(settings, **EAGER), tensors(settings)
    with ready(eagerly, path) as eager, ready(cell(settings), path, library) as ours:
        turns = {"eager": step(eager, settings), "ours": step(ours, settings)}
        samples = alternate(turns, settings["seconds"], ours.device)
        least = cost(ours, settings["batches"][0], settings["depths"][0]).bytes
        pairs = {"": samples.pair("eager", "ours")}
        return {"pairs": pairs, "bytes": least, "ran": ours.choice.facts(), **by(samples)}


def over_v1(settings: dict[str, Any]) -> dict[str, Any]:
    """A version's step over v1's, at every batch and depth given; bounds are those of the bytes."""
    version = cell(settings, settings["version"])
    pairs, bounds, disturbed = {}, {}, set()
    with _both(cell(settings), version, settings) as (v1, other):
        for batch in settings["batches"]:
            for depth in settings["depths"]:
                turns = {
                    "v1": step(v1, settings, batch, depth),
                    "other": step(other, settings, batch, depth),
                }
                samples = alternate(turns, settings["seconds"], v1.device)
                where = f"batch {batch}, depth {depth}"
                pairs[where] = samples.pair("v1", "other")
                bounds[where] = cost(v1, batch, depth).bytes / cost(other, batch, depth).bytes
                disturbed |= set(samples.disturbed_by)
        return {
            "pairs": pairs,
            "bounds": bounds,
            "ran": other.choice.facts(),
            "disturbed_by": sorted(disturbed),
        }


def bandwidth(settings: dict[str, Any]) -> dict[str, Any]:
    """The time that v1's compulsory bytes take at the read bandwidth, over the time of its step."""
    with ready(cell(settings), tensors(settings), settings["library"]) as setup:
        least = cost(setup, settings["batches"][0], settings["depths"][0]).bytes
        found = over_read(step(setup, settings), least, settings, setup.device)
        return found | {"ran": setup.choice.facts() | found["ran"]}


def over_read(work: Turn, least: int, settings: dict[str, Any], device: str) -> dict[str, Any]:
    """The time that `least` bytes take at the read bandwidth, over that of what has to read them.

    The bandwidth is that of the way to read that was fastest in this process, turn by turn with it.
    """
    source = torch.rand(roofs.BUFFER_BYTES[device] // 4, device=device)
    ways = roofs.ways_to_read(source, device, settings["library"])
    reads = {way: repeated(read, device) for way, read in ways.items()}
    samples = alternate({"work": work, **reads}, settings["seconds"], device)
    best = min(ways, key=lambda way: median(samples.times[way]["wall"]))
    share = least / source.nbytes
    floor = {clock: [share * ms for ms in times] for clock, times in samples.times[best].items()}
    pair = {"above": floor, "below": samples.times["work"]}
    return {"pairs": {"": pair}, "ran": {"read_by": best}, **by(samples)}


@contextmanager
def _both(v1: Cell, other: Cell, settings: dict[str, Any]) -> Iterator[tuple[Setup, Setup]]:
    """Both versions ready; one model serves both where they have the same layer map."""
    path, library = tensors(settings), settings["library"]
    with ready(v1, path, library) as first:
        if v1.layer_owner == other.layer_owner:
            yield first, replace(first, cell=other)
        else:
            with ready(other, path, library) as second:
                yield first, second


def step(setup: Setup, settings: dict[str, Any], batch: int = 0, depth: int = 0) -> Turn:
    """The decode step over a filled cache, ready to take its turn."""
    return repeated(
        once(setup, batch or settings["batches"][0], depth or settings["depths"][0]), setup.device
    )


def once(setup: Setup, batch: int, depth: int) -> Callable[[], Any]:
    """A decode step after `depth` tokens whose K and V are random numbers.

    It reads and computes as after a prefill, which at thousands of tokens would take minutes.
    """
    cache, config = setup.cache(depth + 1, batch), setup.model.config
    like = setup.model.lm_head.weight
    with torch.inference_mode():
        shape = (batch, config.n_kv_head, depth, config.head_dim)
        rows = torch.randn(shape, device=like.device).to(like.dtype)
        for layer in cache.layers:
            cache.update(layer, rows, rows)
        cache.advance(depth)
    return step_over(
        setup, cache, torch.zeros(batch, depth + 1, dtype=torch.long, device=like.device)
    )


def cost(setup: Setup, batch: int, depth: int) -> costs.Cost:
    """FLOP and compulsory bytes of that step."""
    cell, config = setup.cell, setup.model.config
    kept = layout_of(cell.storage, config.head_dim, costs.ITEMSIZE[cell.dtype])
    return costs.forward(cell.model_config, cell.layer_owner, cell.dtype, batch, depth, 1, kept)


def by(samples: Any) -> dict[str, Any]:
    """What disturbed the samples, for the row."""
    return {"disturbed_by": samples.disturbed_by}
