"""One forward of known tokens through a cache: what decoding them one by one would compute.

A stored row depends on no later token, so every position's logits are those that decoding reaches
after the tokens before it, at the cost of one forward (a test holds every cache to that).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from kvbench.caches import Cache, causal_sdpa, make
from kvbench.models.base import LanguageModel


@torch.inference_mode()
def cached_logits(
    model: LanguageModel,
    cache_name: str,
    ids: Tensor,
    outputs: list[Tensor] | None = None,
    exact_prompt: int = 0,
) -> Tensor:
    """Logits (B, T, vocab_size) after each of `ids` (B, T), with K/V in a fresh cache.

    `outputs` gets every layer's attention output (B, n_head, T, head_dim), from the first layer on.
    The first `exact_prompt` tokens attend to K and V as computed, and only those after them to what
    the cache kept; `outputs` then gets the outputs of these alone.
    """
    B, T = ids.shape
    cache = make(cache_name, model.config, B, T, model.lm_head.weight)
    logits = []
    if exact_prompt:
        with attending_exactly(cache):
            logits.append(model(ids[:, :exact_prompt], cache, last_only=False))
    if outputs is not None:
        record_outputs(cache, outputs)
    if exact_prompt < T:
        logits.append(model(ids[:, exact_prompt:], cache, last_only=False))
    return torch.cat(logits, 1)


@contextmanager
def attending_exactly(cache: Cache) -> Iterator[None]:
    """Inside, a forward that fills an empty cache attends to K and V before they are stored.

    So does the prefill of systems that hand the originals back and quantise behind its back.
    """
    computed: dict[int, tuple[Tensor, Tensor]] = {}
    update = cache.update

    def keep(layer: int, k: Tensor, v: Tensor) -> None:
        computed[layer] = (k, v)
        update(layer, k, v)

    vars(cache)["update"] = keep
    vars(cache)["attend"] = lambda layer, q: causal_sdpa(
        q, *computed[layer], cache.windows.get(layer, 0)
    )
    try:
        yield
    finally:
        del vars(cache)["update"], vars(cache)["attend"]


def record_outputs(cache: Cache, outputs: list[Tensor]) -> None:
    """Append to `outputs` what `cache.attend` returns: one call a layer, in order, any model."""
    attend = cache.attend

    def attend_and_record(*args: Any, **kwargs: Any) -> Tensor:
        outputs.append(attend(*args, **kwargs))
        return outputs[-1]

    vars(cache)["attend"] = attend_and_record
