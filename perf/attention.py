"""Targets of decode attention alone: INT8 codes by the native kernels, over floats by torch's own,
or over the read bandwidth.

Every layer's K and V in turn, as in a step, so that they come from memory and not from a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kvbench.bench.meters import machine
from kvbench.caches import causal_sdpa
from kvbench.costs import forward as costs
from kvbench.engine.backend import Choice, settle
from kvbench.files.placeholder import NotMeasuredError
from kvbench.job import devices
from kvbench.kernels.reference import quantise_int8
from kvbench.models.build import DTYPES
from perf.steps import by, cell, over_read
from perf.turns import alternate, repeated


@dataclass(frozen=True)
class Case:
    """One query a sequence, the K and V in floats of every layer, and INT8 attention over them."""

    q: Tensor
    floats: list[tuple[Tensor, Tensor]]
    attend: Callable[[], None]
    bytes: int  # of codes and scales
    where: str
    choice: Choice


@contextmanager
def _case(settings: dict[str, Any]) -> Iterator[Case]:
    """What a row's settings ask for, the CPU locked. Raises NotMeasuredError without kernels."""
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

        def attend() -> None:
            for attention in native:
                attention(q, depth, out)

        least = sum(x.nbytes for layer in coded for pair in layer for x in pair)
        yield Case(q, floats, attend, least, f"batch {batch}, depth {depth}", choice)


def over_sdpa(settings: dict[str, Any]) -> dict[str, Any]:
    """Fused attention over K and V in the row's dtype, over INT8 attention of as many tokens."""
    with _case(settings) as case:

        def fused() -> None:
            for k, v in case.floats:
                causal_sdpa(case.q, k, v)

        turns = {"fused": repeated(fused), "ours": repeated(case.attend)}
        samples = alternate(turns, settings["seconds"])
        pairs = {case.where: samples.pair("fused", "ours")}
        return {"pairs": pairs, "bytes": case.bytes, "ran": case.choice.facts(), **by(samples)}


def bandwidth(settings: dict[str, Any]) -> dict[str, Any]:
    """The time that codes and scales take at the read bandwidth, over that of INT8 attention."""
    with _case(settings) as case:
        case.floats.clear()
        found = over_read(repeated(case.attend), case.bytes, settings, "cpu")
        return found | {"ran": case.choice.facts() | found["ran"]}
