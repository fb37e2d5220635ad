"""One forward of known tokens through a cache: what decoding them one by one would compute.

A stored row depends on no later token, so every position's logits are those that decoding reaches
after the tokens before it, at the cost of one forward (a test holds every cache to that).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kvbench.caches import Cache, make
from kvbench.models.base import LanguageModel


@torch.inference_mode()
def logits_through(
    model: LanguageModel, cache_name: str, ids: Tensor, heard: list[Tensor] | None = None
) -> Tensor:
    """Logits (B, T, vocab_size) after each of `ids` (B, T), with K/V in a fresh cache.

    `heard` gets every layer's attention output (B, n_head, T, head_dim), from the first layer on.
    """
    B, T = ids.shape
    cache = make(cache_name, model.config, B, T, model.lm_head.weight)
    if heard is not None:
        overhear(cache, heard)
    return model(ids, cache, last_only=False)


def overhear(cache: Cache, heard: list[Tensor]) -> None:
    """Append to `heard` what `cache.attend` returns: one call a layer, in order, any model."""
    attend = cache.attend

    def attend_aloud(*args: Any, **kwargs: Any) -> Tensor:
        heard.append(attend(*args, **kwargs))
        return heard[-1]

    vars(cache)["attend"] = attend_aloud
