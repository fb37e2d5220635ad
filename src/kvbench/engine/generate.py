"""Generation: prefill, then one token at a time, over any cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from kvbench.caches import Cache
from kvbench.models.base import LanguageModel

LOWEST = 1e-20  # a temperature below which two unlike logits leave the lower no chance in fp32
Pick = Callable[[Tensor], Tensor]  # logits (B, vocab_size) -> tokens (B, 1)


def greedy(logits: Tensor) -> Tensor:
    """The most likely token of each sequence."""
    return logits.argmax(-1, keepdim=True)


class Sampler:
    """A seeded sampler; its generator lives on the logits' device, so no step waits for the host.

    Raises ValueError for a temperature or top_k that is not positive.
    """

    def __init__(self, temperature: float = 1.0, top_k: int | None = None, seed: int = 42) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature {temperature} must be positive; greedy() is 0")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k {top_k} must be at least 1")
        self.temperature, self.top_k, self.seed = temperature, top_k, seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def __call__(self, logits: Tensor) -> Tensor:
        if self.top_k == 1 or self.temperature < LOWEST:
            return greedy(logits)  # of equal ones the first, where a draw would take any
        logits = logits.float() / self.temperature
        if self.top_k is not None:
            kth = logits.topk(min(self.top_k, logits.size(-1))).values[:, -1:]
            logits = logits.masked_fill(logits < kth, -torch.inf)
        # torch.multinomial's own race of exponentials, without its check, which waits for the host.
        race = torch.empty_like(logits).exponential_(generator=self.generator(logits.device))
        return (logits.softmax(-1) / race).argmax(-1, keepdim=True)

    def generator(self, device: torch.device) -> torch.Generator:
        """The generator of one device."""
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self._generators[device]

    def restart(self) -> None:
        """Draw the same numbers again."""
        for generator in self._generators.values():
            generator.manual_seed(self.seed)


def no_mark() -> None:
    """The default mark: nothing is timed."""


@torch.inference_mode()
def generate(
    model: LanguageModel,
    prompt: Tensor,
    n: int,
    cache: Cache | None = None,
    pick: Pick = greedy,
    mark: Callable[[], None] = no_mark,
) -> Tensor:
    """Append `n` tokens to `prompt` (B, T) and return all of them (B, T + n).

    Without a `cache`, a new one of the version that `load_model_for_version` loaded.
    `mark()` is called before the first step, after each forward and after each pick: 2 n + 1 times.
    Past block_size the window slides and every absolute position in it moves, so cached K/V are
    stale: the cache is emptied and the slid window prefilled again, as recomputing would.
    """
    B, start = prompt.shape
    tokens = torch.empty(B, start + n, dtype=torch.long, device=prompt.device)
    tokens[:, :start] = prompt
    if cache is None:
        cache = model.new_cache(B, start + n)
    cache.reset()
    mark()
    extend(model, tokens, range(start, start + n), cache, pick, mark)
    return tokens


def extend(
    model: LanguageModel,
    tokens: Tensor,
    ends: Iterable[int],
    cache: Cache,
    pick: Pick,
    mark: Callable[[], None],
) -> None:
    """Fill tokens[:, end] for each of `ends` from the tokens before it and what is cached."""
    block_size = model.config.block_size
    for end in ends:
        if end > block_size:
            cache.reset()
        begin = max(0, end - block_size) + cache.length
        logits = model(tokens[:, begin:end], cache)
        mark()
        tokens[:, end : end + 1] = pick(logits[:, -1])
        mark()


def overflow_steps(prompt_length: int, n: int, block_size: int) -> int:
    """How many of `n` steps run past block_size, where the window slides."""
    return max(0, prompt_length + n - 1 - max(block_size, prompt_length - 1))
