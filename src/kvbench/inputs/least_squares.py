"""Least squares that let one layer's queries and output read another layer's K/V.

Pure functions of tensors; `kvbench.inputs.share_kv` walks a model with them. In all of them n is
tokens of the calibration text, hs a head's channels, and sums are in fp64.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

RIDGE = 1e-3  # of the mean diagonal of a Gram matrix


def ridge(x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
    """W (a, b) that minimises the sum of weight^2 |x W - y|^2 and a small penalty on |W|^2.

    x (n, a), y (n, b), weight (n,), by default 1.
    """
    x, y = x.double(), y.double()
    if weight is not None:
        x, y = x * weight.double()[:, None], y * weight.double()[:, None]
    gram = x.T @ x
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    return torch.linalg.solve(gram, x.T @ y)


def key_map(owner: Tensor, borrower: Tensor, rotary: bool) -> Tensor:
    """M (hs, hs) with owner @ M ~ borrower, both keys (n, hs): q . borrower ~ (M q) . owner.

    Without rotary positions a constant in all keys moves no softmax, so both are centred. With
    them M has to commute with rotations: in each pair of channels one complex number, a turn and a
    scale, so that it can be multiplied into the query projection, which comes before the rotation.
    """
    if not rotary:
        return ridge(owner - owner.mean(0), borrower - borrower.mean(0))
    o, b = (torch.view_as_complex(k.double().unflatten(-1, (-1, 2))) for k in (owner, borrower))
    c = (o.conj() * b).sum(0) / o.abs().square().sum(0).clamp_min(1e-12)  # (hs / 2,): b ~ o c
    turns = torch.stack([c.real, c.imag, -c.imag, c.real], -1).view(-1, 2, 2)
    return torch.block_diag(*turns)


def score_error(owner: Tensor, borrower: Tensor, M: Tensor, queries: Tensor, rotary: bool) -> float:
    """Mean squared error of the scores queries . borrower when read as queries . (owner @ M)."""
    wrong = borrower.double() - owner.double() @ M
    if not rotary:
        wrong = wrong - wrong.mean(0)
    error_gram, moment = (x.T @ x / len(x) for x in (wrong, queries.double()))
    return float((error_gram * moment).sum()) / queries.size(-1)


def match_heads(
    owner: Tensor, borrower: Tensor, queries: Tensor, rotary: bool
) -> list[tuple[int, Tensor]]:
    """For each query slot, the borrower head that moves there and its key map, at the least error.

    owner, borrower: keys (nkv, n, hs); queries (nh, n, hs). Slots read owner head
    slot // (nh / nkv), as grouped-query attention does.
    """
    nh, readers = len(queries), len(queries) // len(borrower)
    maps = [[key_map(o, b, rotary) for o in owner] for b in borrower]
    error = np.array(
        [
            [
                score_error(o, borrower[h // readers], M, queries[h], rotary)
                for o, M in zip(owner, maps[h // readers], strict=True)
            ]
            for h in range(nh)
        ]
    )
    heads, slots = linear_sum_assignment(np.repeat(error, readers, axis=1))
    head_of = dict(zip(slots.tolist(), heads.tolist(), strict=True))
    return [(head_of[slot], maps[head_of[slot] // readers][slot // readers]) for slot in range(nh)]


def fit_output(heads: Tensor, added: Tensor, residual: Tensor) -> tuple[Tensor, float]:
    """W (C, C) that brings heads @ W nearest to `added`, all (n, C), and the error that is left.

    A token weighs 1 / |residual|, and so does its error: sqrt(mean |heads @ W - added|^2 /
    |residual|^2), a share of the residual stream, which layers can be compared by.
    """
    weight = 1 / residual.norm(dim=1).clamp_min(1e-6)
    W = ridge(heads, added, weight)
    wrong = (heads.double() @ W - added) * weight[:, None]
    return W, float(wrong.square().sum() / len(wrong)) ** 0.5
