"""How often a gate fails what does not deserve it, found by drawing a text's windows again.

A cache whose true value lies just at the margin may fail once in forty studies, at an interval of
95 %; v1 against itself may not fail at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kvbench.records.record import Record
from kvbench.stats.windows import FEWEST_DOCUMENTS, WindowMean, block_bootstrap_mean, document_mean

DRAWN, RESAMPLES = 200, 400  # texts drawn, and resamples of the interval of each
ROUNDING = 1e-12  # by which values that were moved to the margin may miss it


def of_itself(
    floor: Mapping[str, Any], reference: Record | None, name: str, margin: float
) -> float | None:
    """The share of drawn texts on which v1, read through another exact path, fails the gate."""
    if reference is None or "window_tokens" not in reference:
        return None
    at = floor["window"]
    tokens, documents = (_some(reference.get(k), at) for k in ("window_tokens", "window_document"))
    return share(np.array(floor[f"window_{name}"]), tokens, documents, limit(name, margin))


def at_margin(cell: Record, name: str, margin: float) -> float | None:
    """The share of drawn texts on which a cache with this one's spread fails just at the margin."""
    if "window_nll" not in cell:
        return None
    tokens = np.array(cell["window_tokens"], dtype=float)
    nll = cell["window_nll"]
    values = {
        "delta_nll": np.subtract(nll["cached"], nll["teacher_forced"]) / tokens,
        "kl": np.array(cell["window_kl"]),
        "flips": 1 - np.array(cell["window_agreement"]),
    }[name]
    most = limit(name, margin)
    moved = values + most - np.average(values, weights=tokens)
    documents = cell.get("window_document")
    return share(moved, tokens, None if documents is None else np.array(documents), most)


def limit(name: str, margin: float) -> float:
    """A margin in the unit of a window's values: a ratio of perplexities is one of exp(NLL)."""
    return math.log(margin) if name == "delta_nll" else margin


def share(
    values: np.ndarray, tokens: np.ndarray, documents: np.ndarray | None, most: float
) -> float | None:
    """The share of DRAWN texts whose interval lies beyond `most`; None below two windows.

    values, tokens, documents: of each window, (windows,). Whole documents are drawn with
    replacement where there are enough, else windows.
    """
    if len(values) < 2:
        return None
    several = documents is not None and len(set(documents.tolist())) >= FEWEST_DOCUMENTS
    groups = documents if several and documents is not None else np.arange(len(values))
    members = [np.flatnonzero(groups == one) for one in np.unique(groups)]
    rng, failed = np.random.default_rng(0), 0
    for _ in range(DRAWN):
        drawn = [members[i] for i in rng.integers(len(members), size=len(members))]
        at = np.concatenate(drawn)
        of = np.repeat(np.arange(len(drawn)), [len(one) for one in drawn])
        weighted = values[at] * tokens[at] / tokens[at].mean()
        low = _interval(weighted, of if several else None).low
        failed += low is not None and low > most + ROUNDING
    return failed / DRAWN


def _interval(values: np.ndarray, documents: np.ndarray | None) -> WindowMean:
    if documents is not None:
        return document_mean(values.tolist(), documents.tolist(), seed=0, resamples=RESAMPLES)
    return block_bootstrap_mean(values.tolist(), 1, seed=0, resamples=RESAMPLES)


def _some(values: Any, at: list[int]) -> Any:
    return None if values is None else np.array(values)[at]
