"""Two sets of logits for one text: how far the cached ones are from the plain ones, token by token.

A vocabulary of 50,000 makes one window's logits 100 MB in fp32. Softmax and divergence would make
that several times over, so they go ROWS positions at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROWS = 64  # positions at a time
BIN = 16  # tokens of depth that share one point of `by_depth`


@dataclass(frozen=True)
class Comparison:
    """Per scored token (n,): NLL of both readings, KL, and whether their top guess is the same.

    In nats. KL is that of the cached distribution from the plain one, sum p log(p / q): what the
    cache wastes whatever token came.
    """

    nll_plain: np.ndarray
    nll_cached: np.ndarray
    kl: np.ndarray
    agree: np.ndarray


@torch.inference_mode()
def compare(plain: Tensor, cached: Tensor, targets: Tensor) -> Comparison:
    """Compare logits (n, vocab_size) that predict `targets` (n,)."""
    parts = [
        _compare(*rows)
        for rows in zip(plain.split(ROWS), cached.split(ROWS), targets.split(ROWS), strict=True)
    ]
    columns = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    return Comparison(*columns)


def _compare(plain: Tensor, cached: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    p, q = (logits.float().log_softmax(-1) for logits in (plain, cached))
    of_target = targets.unsqueeze(-1)
    nll = [-log.gather(-1, of_target).squeeze(-1).double() for log in (p, q)]
    agree = p.argmax(-1) == q.argmax(-1)
    kl = (p.exp() * (p - q)).sum(-1).double().clamp_min(0)  # rounding can take it below zero
    return *nll, kl, agree


def by_depth(found: Sequence[Comparison], depths: Sequence[np.ndarray]) -> dict[str, list[Any]]:
    """Mean delta NLL and KL over the tokens of all windows, by tokens before them in the window."""
    depth = np.concatenate(depths) // BIN
    delta = np.concatenate([one.nll_cached - one.nll_plain for one in found])
    kl = np.concatenate([one.kl for one in found])
    bins = np.unique(depth)
    return {
        "depth": [int(b) * BIN for b in bins],
        "tokens": [int((depth == b).sum()) for b in bins],
        "delta_nll": [float(delta[depth == b].mean()) for b in bins],
        "kl": [float(kl[depth == b].mean()) for b in bins],
    }


class LayerError:
    """Relative error of each layer's attention output, over all windows.

    sqrt(sum |cached - plain|^2 / sum |plain|^2) of layer i: what layer i's own K/V add, on top of
    what the layers below handed it.
    """

    def __init__(self) -> None:
        self.wrong: list[float] = []
        self.whole: list[float] = []

    def add(self, plain: Sequence[Tensor], cached: Sequence[Tensor]) -> None:
        """One window's outputs, layer by layer."""
        wrong = [_square(c.float() - p.float()) for p, c in zip(plain, cached, strict=True)]
        whole = [_square(p.float()) for p in plain]
        self.wrong = [a + b for a, b in zip_longest(self.wrong, wrong, fillvalue=0.0)]
        self.whole = [a + b for a, b in zip_longest(self.whole, whole, fillvalue=0.0)]

    def relative(self) -> list[float]:
        """The error of every layer, first to last."""
        return [(w / n) ** 0.5 if n else 0.0 for w, n in zip(self.wrong, self.whole, strict=True)]


def _square(x: Tensor) -> float:
    return x.square().sum(dtype=torch.float64).item()
