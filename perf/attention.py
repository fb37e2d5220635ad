"""The target of decode attention alone: INT8 codes by the native kernels, floats by torch's own.

Every layer's K and V in turn, as in a step, so that they come from memory and not from a cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from kvbench.bench.meters import machine
from kvbench.caches import causal_sdpa
from kvbench.costs import forward as costs
from kvbench.engine.backend import settle
from kvbench.files.placeholder import NotMeasuredError
from kvbench.job import devices
from kvbench.kernels.reference import quantise_int8
from kvbench.models.build import DTYPES
from perf.steps import by, cell
from perf.turns import alternate, repeated


def over_sdpa(settings: dict[str, Any]) -> dict[str, Any]:
    """Fused attention over K and V in the row's dtype, over INT8 attention of as many tokens."""
    model = cell(settings).model_config
    machine.use_device("cpu", 1)
    choice = settle(cell(settings), "cpu", settings["library"])
    if choice.native is None:
        raise NotMeasuredError(f"no native kernels: {choice.reason}")
    batch, depth, heads = settings["batches"][0], settings["depths"][0], model["n_head"]
    shape = (batch, heads, depth, costs.head_dim(model))
    with devices.device_lock("cpu"), torch.inference_mode():
        draw = [torch.randn(shape) for _ in "qkv"]
        q, k, v = (x.to(DTYPES[settings["dtype"]]) for x in draw)
        q = q[:, :, :1].contiguous()
        floats = [(k.clone(), v.clone()) for _ in range(model["n_layer"])]
        codes = [quantise_int8(x) for x in (k, v)]
        coded = [[(c.clone(), s.clone()) for c, s in codes] for _ in floats]
        native = [choice.native.attention(k, v, ks, vs) for (k, ks), (v, vs) in coded]
        out = torch.empty_like(q)

        def fused() -> None:
            for k, v in floats:
                causal_sdpa(q, k, v)

        def ours() -> None:
            for attend in native:
                attend(q, depth, out)

        works: dict[str, Callable[[], None]] = {"fused": fused, "ours": ours}
        turns = {name: repeated(work) for name, work in works.items()}
        samples = alternate(turns, settings["seconds"])
        where = f"batch {batch}, depth {depth}"
        pairs = {where: samples.pair("fused", "ours")}
        least = sum(x.nbytes for layer in coded for pair in layer for x in pair)
        return {"pairs": pairs, "bytes": least, "ran": choice.facts(), **by(samples)}
