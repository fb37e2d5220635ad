"""Perplexity, as the model alone scores a text and as it does reading K/V through its cache.

`teacher_forced` is one plain forward per window, every layer with its own K/V: it cannot see a
cache, so every version scores alike. `cached` stores K/V in the very cache that is timed, with the
version's layer map; rows depend on no later token, so one forward per window equals decoding token
by token.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kvbench.bench.setup import ready
from kvbench.caches import make
from kvbench.models import build
from kvbench.models.base import LanguageModel

Span = tuple[int, int, int]


def windows(n_tokens: int, context: int, stride: int, most: int | None) -> list[Span]:
    """(begin, end, first scored) of each window; `most` of them, spread evenly over the text.

    Each window scores the tokens after the previous window's end, and never its own first token.
    """
    found, scored = [], 1
    for begin in range(0, n_tokens - 1, stride):
        end = min(begin + context, n_tokens)
        found.append((begin, end, max(scored, begin + 1)))
        scored = end
        if end == n_tokens:
            break
    if most is None or most >= len(found):
        return found
    return [found[i * len(found) // most] for i in range(most)]


@torch.inference_mode()
def window_nll(model: LanguageModel, cache_name: str, tokens: Tensor, scored: int) -> float:
    """Summed negative log-likelihood, in nats, of tokens[scored:] of one window (T,)."""
    like = model.lm_head.weight
    cache = make(cache_name, model.config, 1, len(tokens) - 1, like)
    logits = model(tokens[None, :-1], cache, last_only=False)[0, scored - 1 :]
    return F.cross_entropy(logits.float(), tokens[scored:], reduction="sum").item()


def run(cell: dict[str, Any], weights: str | None, tokens_file: str) -> dict[str, Any]:
    """One perplexity cell: both modes over the same windows, with every window's NLL."""
    with np.load(tokens_file) as data:
        tokens, token_bytes = data["tokens"], data["token_bytes"]
    with ready(cell, weights) as setup:
        plain = setup.model
        if cell["owner"] != list(range(len(cell["owner"]))):
            plain = build(cell["model"], "own", cell["dtype"], weights, device=setup.device)
        spans = windows(len(tokens), cell["context"], cell["stride"], cell["max_windows"])
        setup.begin()
        nll: dict[str, list[float]] = {"teacher_forced": [], "cached": []}
        for begin, end, first in spans:
            ids = torch.from_numpy(tokens[begin:end].astype(np.int64)).to(setup.device)
            nll["teacher_forced"].append(window_nll(plain, "none", ids, first - begin))
            nll["cached"].append(window_nll(setup.model, cell["cache"], ids, first - begin))
        counts = [end - first for _, end, first in spans]
        scored = np.concatenate([tokens[first:end] for _, end, first in spans])
        n_bytes = int(token_bytes[scored].sum())
        modes = {mode: score(sums, sum(counts), n_bytes) for mode, sums in nll.items()}
        return setup.record(
            text=cell["text"],
            context=cell["context"],
            stride=cell["stride"],
            n_windows=len(spans),
            n_tokens=sum(counts),
            n_bytes=n_bytes,
            **modes["cached"],
            modes=modes,
            window_tokens=counts,
            window_nll=nll,
        )


def score(window_sums: list[float], n_tokens: int, n_bytes: int) -> dict[str, float]:
    """loss (nats a token), perplexity = exp(loss), and bits per byte of the scored text."""
    total = math.fsum(window_sums)
    return {
        "loss": total / n_tokens,
        "perplexity": math.exp(total / n_tokens),
        "bits_per_byte": total / math.log(2) / n_bytes,
    }
