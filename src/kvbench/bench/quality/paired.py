"""A version against v1 over the windows of a text, with intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kvbench.bench.quality.logits import Comparison
from kvbench.records.record import Record
from kvbench.stats.order import tail
from kvbench.stats.windows import WindowMean, text_mean


def pair(found: list[Comparison], seed: int, of: int, documents: list[int] | None = None) -> Record:
    """The version against v1, with intervals over windows, spread over `of`.

    By `documents`, that of each window, where these tell how documents differ; else by blocks of
    consecutive windows. delta_nll and kl in nats a token, the ratio of perplexities exp(delta_nll),
    flips the share of tokens whose top guess is another, delta_p the root mean square change of the
    right token's probability. Percentiles of kl are over tokens, each None where there are too few
    (`kvbench.stats.order.tail`).
    """
    counts = np.array([len(one.kl) for one in found])
    weight = counts / counts.mean()  # so that the mean over windows is the mean over tokens

    def mean(values: list[Any]) -> WindowMean:
        by_window = weight * [float(one.mean()) for one in values]
        return text_mean(by_window.tolist(), documents, seed=seed, of=of)

    delta_nll = vars(mean([one.nll_cached - one.nll_plain for one in found]))
    kl = vars(mean([one.kl for one in found]))
    flips = vars(mean([~one.agree for one in found]))
    squares = mean([np.square(np.exp(-one.nll_cached) - np.exp(-one.nll_plain)) for one in found])
    low, high = (None if delta_nll[e] is None else math.exp(delta_nll[e]) for e in ("low", "high"))
    root = [None if x is None else max(0.0, x) ** 0.5 for x in (squares.low, squares.high)]
    return {
        "delta_nll": delta_nll,
        "perplexity_ratio": {"ratio": math.exp(delta_nll["mean"]), "low": low, "high": high},
        "kl": kl | tail(np.concatenate([one.kl for one in found]).tolist()),
        "flips": flips,
        "delta_p": {"rms": squares.mean**0.5, "low": root[0], "high": root[1]},
        "top1_agreement": float(np.concatenate([one.agree for one in found]).mean()),
    }
