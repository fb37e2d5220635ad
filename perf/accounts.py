"""Targets of the accounts: bytes by their closed form; what a look at memory or phases costs."""

from __future__ import annotations

from typing import Any

import torch

from kvbench.bench import phase
from kvbench.bench.meters.peak_memory import peak_meter
from kvbench.bench.setup import ready
from kvbench.caches import make
from kvbench.costs import forward as costs
from kvbench.engine.generate import generate
from kvbench.models.build import DTYPES, config_of
from kvbench.plan import cells
from perf.steps import by, cell, study
from perf.turns import alternate, repeated

TOKENS = 16


def cache_bytes(settings: dict[str, Any]) -> dict[str, Any]:
    """Bytes of each version's storages over those of the cost model, by version and dtype."""
    found = {}
    for dtype in ("float32", "bfloat16"):
        for version in ("v1", "v2", "v3", "v4"):
            one = cell(settings | {"dtype": dtype, "depths": [settings["depths"][0] - 1]}, version)
            shape, batch, tokens = one.model_config, settings["batches"][0], one.depth + 1
            config = config_of(shape, one.layer_owner)
            like = torch.empty(0, dtype=DTYPES[dtype])
            cache = make(one.storage, config, batch, tokens, like)
            row = cache.layout(config.head_dim, like.itemsize)
            heads = costs.kv_heads(shape, one.layer_owner, batch)
            formula = heads * row.bytes(cache.capacity)
            found[f"{version}, {dtype}"] = cache.reserved_bytes() / formula
    return {"exact": found}


def memory(settings: dict[str, Any]) -> dict[str, Any]:
    """A generation whose peak is taken by the allocator's account, over the same one without."""
    asked = cells.cell(study(settings), "vram", settings["preset"], "v1", T=TOKENS)
    with ready(asked, None, settings["library"]) as setup:
        cache = setup.cache(setup.prompt.size(1) + TOKENS)

        def plain() -> None:
            generate(setup.model, setup.prompt, TOKENS, cache)

        def accounted() -> None:
            meter = peak_meter(setup.device, settings["library"])
            meter.start()
            plain()
            meter.stop()

        turns = {name: repeated(work) for name, work in (("a", accounted), ("p", plain))}
        samples = alternate(turns, settings["seconds"], setup.device)
        return {"pairs": {"": samples.pair("a", "p")}, "ran": setup.choice.facts(), **by(samples)}


def phases(settings: dict[str, Any]) -> dict[str, Any]:
    """The sum of the named phases, without the rest, over the run that nothing looked at."""
    asked = cells.cell(study(settings), "phase", settings["preset"], "v1", T=TOKENS)
    record = phase.run(asked.replace(num_measure_runs=5), None, settings["library"])
    named = [name for name in phase.PHASES if name != "other"]
    above = [sum(run[name] for name in named) for run in record["runs"]]
    pair = {"above": {"wall": above}, "below": {"wall": record["plain_runs_ms"]}}
    disturbed = record["machine_state"]["disturbed_by"]
    ran = {key: record[key] for key in ("execution", "kernel")}
    return {"pairs": {"": pair}, "ran": ran, "disturbed_by": disturbed}
