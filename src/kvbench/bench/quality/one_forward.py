"""One forward of known tokens through a cache: what decoding them one by one would compute.

A stored row depends on no later token, so every position's logits are those that decoding reaches
after the tokens before it, at the cost of one forward (a test holds every cache to that).
"""

from __future__ import annotations

import torch
from torch import Tensor

from kvbench.caches import Cache, CacheWrapper, Storage, causal_sdpa
from kvbench.models.base import LanguageModel


@torch.inference_mode()
def cached_logits(
    model: LanguageModel,
    storage: Storage,
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
    cache = model.cache_of(storage, B, T)
    logits = []
    if exact_prompt:
        logits.append(model(ids[:, :exact_prompt], ExactPrompt(cache), last_only=False))
    if outputs is not None:
        cache = OutputRecorder(cache, outputs)
    if exact_prompt < T:
        logits.append(model(ids[:, exact_prompt:], cache, last_only=False))
    return torch.cat(logits, 1)


@torch.inference_mode()
def logits_in_two(
    model: LanguageModel, storage: Storage, ids: Tensor, first: int, corrupt: bool = False
) -> Tensor:
    """Logits (B, T, vocab_size) after each of `ids` (B, T): `first` are fed, then the rest.

    The rest attends to the first through what the cache stored of them. With `corrupt` that is
    corrupted between the two forwards.
    """
    B, T = ids.shape
    cache = model.cache_of(storage, B, T)
    before = model(ids[:, :first], cache, last_only=False)
    if corrupt:
        reverse_stored(cache)
    return torch.cat([before, model(ids[:, first:], cache, last_only=False)], 1)


def reverse_stored(cache: Cache) -> None:
    """Reverse every stored tensor along its last axis: a row's codes, or the scales of all rows."""
    for stored in {tensor.data_ptr(): tensor for tensor in cache.storages()}.values():
        if stored.ndim:
            codes = stored.view(torch.uint8) if stored.itemsize == 1 else stored
            codes.copy_(codes.flip(-1))


class ExactPrompt(CacheWrapper):
    """An empty cache in whose first forward queries attend to K and V before they are stored.

    So does the prefill of systems that hand the originals back and quantise behind its back.
    """

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self.computed: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        self.computed[layer] = (k, v)
        self.cache.update(layer, k, v)

    def attend(self, layer: int, q: Tensor) -> Tensor:
        return causal_sdpa(q, *self.computed[layer], self.cache.windows.get(layer, 0))


class OutputRecorder(CacheWrapper):
    """A cache that appends every attention's output to `outputs`, layer by layer."""

    def __init__(self, cache: Cache, outputs: list[Tensor]) -> None:
        super().__init__(cache)
        self.outputs = outputs

    def attend(self, layer: int, q: Tensor) -> Tensor:
        self.outputs.append(self.cache.attend(layer, q))
        return self.outputs[-1]
