"""Sharing K/V without training: a borrower's projections, fitted in closed form to its owner's K/V.

A layer that borrows keeps a query and an output projection, and both are matrices: what leads from
the owner's heads to its own is multiplied into them, so that the model runs exactly as fast as one
whose K/V were merely borrowed. For one borrower after the other, on a calibration text:

heads     which owner head each of its heads reads: the assignment of least error of the scores
queries   K_borrower ~ K_owner M, so q . K_borrower ~ (M q) . K_owner: M goes into the queries
output    with attention as it now is, the projection that brings the layer's output nearest to the
          original's, by ridge regression over all heads. A token weighs one over the size of its
          residual stream, as in the norm that reads it: large tokens count no more than others.

The layers below have changed a borrower's input by the time it is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from kvbench.caches import CacheWrapper, causal_sdpa, make
from kvbench.costs.layer_map import owners
from kvbench.files import Json
from kvbench.inputs.least_squares import fit_output, match_heads
from kvbench.inputs.tokens import Tokens
from kvbench.models.base import LanguageModel
from kvbench.models.build import build

ROWS, TOKENS = 16, 256  # of the calibration text, spread over it
REACH = 3  # layers below that a layer may borrow from, when layers are chosen


class Recorder(CacheWrapper):
    """A cache of one forward, and what went through it: K, V and queries as attention has them."""

    def __init__(self, model: LanguageModel, B: int, T: int) -> None:
        super().__init__(make("none", model.config, B, T, model.lm_head.weight))
        self.kv: dict[int, tuple[Tensor, Tensor]] = {}  # by layer, (B, n_kv_head, T, hs) each
        self.q: dict[int, Tensor] = {}  # by layer, (B, n_head, T, hs)
        self.layer = 0  # the one being run: attention knows only whose K/V it reads

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        self.kv[layer] = k, v
        self.cache.update(layer, k, v)

    def attend(self, layer: int, q: Tensor) -> Tensor:
        self.q[self.layer] = q
        return self.cache.attend(layer, q)


def by_head(x: Tensor) -> Tensor:
    """(B, heads, T, hs) as (heads, B T, hs)."""
    return x.transpose(0, 1).flatten(1, 2)


@dataclass
class Walk:
    """One model and one text on their way through it, a block at a time."""

    blocks: list[nn.Module]
    x: Tensor  # (B, T, C), what the next block reads
    turns: Any  # the rotary angles that every block reads; None where positions are learned
    recorded: Recorder

    @classmethod
    def begin(cls, model: Any, ids: Tensor) -> Walk:
        """At the entry of the first block, for rows of token ids (B, T)."""
        entered: list[Any] = []

        class EnteredError(Exception):
            """Nothing of the forward is needed beyond this point."""

        def enter(_: nn.Module, args: tuple[Any, ...]) -> None:
            entered.extend(args)
            raise EnteredError

        blocks = list(model.blocks())
        hook = blocks[0].register_forward_pre_hook(enter)
        try:
            model(ids, Recorder(model, len(ids), ids.size(1)))
        except EnteredError:
            hook.remove()
        return cls(blocks, entered[0], entered[1], Recorder(model, len(ids), ids.size(1)))

    def run(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Block `layer` of x (B, T, C): its output, and what attention adds, (B T, C)."""
        added: list[Tensor] = []
        attn = cast(Any, self.blocks[layer]).attn
        hook = attn.register_forward_hook(lambda module, args, out: added.append(out))
        self.recorded.layer = layer
        y = self.blocks[layer](x, self.turns, self.recorded)
        hook.remove()
        return y, added[0].flatten(0, 1)


def fit(job: Json, init: str, text: Tokens) -> tuple[nn.Module, Json]:
    """A model with the layer map job["map"], and the record of what was fitted.

    job: shape, map, variant: `calibrated` fits, `copied` takes the owner's queries as they are, so
    that both layers attend alike. `init` is the original's weights file.
    """
    return _fit(job, owners(job["map"], job["shape"]["n_layer"]), init, calibration_rows(text))


@torch.no_grad()
def _fit(job: Json, owner: Sequence[int], init: str, ids: Tensor) -> tuple[nn.Module, Json]:
    original, shared = (
        build(job["shape"], m, "float32", init, device="cpu") for m in ("own", owner)
    )
    of, by = Walk.begin(original, ids), Walk.begin(shared, ids)
    errors: dict[str, float] = {}
    for layer, source in enumerate(owner):
        y, added = of.run(layer, of.x)
        if source != layer:
            mine, theirs = (cast(Any, walk.blocks[layer]).attn for walk in (by, of))
            if job["variant"] == "copied":
                copy_queries(mine, cast(Any, of.blocks[source]).attn)
            else:
                # What the original would compute from what the layer now gets.
                again = replace(of, recorded=Recorder(original, *ids.shape))
                again.run(layer, by.x)
                k, q = again.recorded.kv[layer][0], again.recorded.q[layer]
                k_owner, v_owner = by.recorded.kv[source]
                moved = match_heads(by_head(k_owner), by_head(k), by_head(q), of.turns is not None)
                fold_queries(mine, theirs, moved)
                heads = attended(q, moved, k_owner, v_owner)
                errors[str(layer)] = set_output(mine, heads, added, by.x.flatten(0, 1))
        by.x, of.x = by.run(layer, by.x)[0], y
    return shared, {
        "source": job["variant"],
        "layer_owner": list(owner),
        "calibration_tokens": ids.numel(),
        "output_error": errors,
    }


def copy_queries(mine: Any, source: Any) -> None:
    """Give a borrower its owner's query projection."""
    for part, theirs in zip(mine.c_attn.parameters(), source.c_attn.parameters(), strict=True):
        part.copy_(theirs[: len(part)])


def fold_queries(mine: Any, theirs: Any, moved: list[tuple[int, Tensor]]) -> None:
    """Multiply each slot's key map into the query rows of the head that moved into it."""
    for part, original in zip(mine.c_attn.parameters(), theirs.c_attn.parameters(), strict=True):
        rows = original[: len(part)].double().unflatten(0, (len(moved), -1))  # (nh, hs, ...)
        part.copy_(torch.cat([M @ rows[head] for head, M in moved]))


def attended(q: Tensor, moved: list[tuple[int, Tensor]], k: Tensor, v: Tensor) -> Tensor:
    """Heads (n, C) of attention over an owner's k and v, with queries (B, nh, T, hs) so folded."""
    folded = torch.stack([q[:, head] @ M.T.to(q.dtype) for head, M in moved], 1)
    return causal_sdpa(folded, k, v).transpose(1, 2).flatten(2).flatten(0, 1)


def with_ones(mine: Any, heads: Tensor) -> Tensor:
    """Heads (n, C), and where the projection has a bias a channel of ones, whose row it is."""
    ones = heads.new_ones(len(heads), int(mine.c_proj.bias is not None))
    return torch.cat([heads, ones], 1)


def set_output(mine: Any, heads: Tensor, added: Tensor, residual: Tensor) -> float:
    """Fit a borrower's output projection; returns the error that is left."""
    W, error = fit_output(with_ones(mine, heads), added, residual)
    mine.c_proj.weight.copy_(W[: heads.size(1)].T)
    if mine.c_proj.bias is not None:
        mine.c_proj.bias.copy_(W[-1])
    return error


@torch.no_grad()
def choose(job: Json, init: str, text: Tokens) -> Json:
    """The layer map in which half the layers borrow, from the pairs of least calibration loss.

    The loss of a pair is the error that its fit leaves when every other layer is the original's.
    Pairs are taken from the least on, as long as no layer both owns and borrows. Returns
    `layer_map`, and every pair's loss.
    """
    ids, n_layer = calibration_rows(text), job["shape"]["n_layer"]
    walk = Walk.begin(build(job["shape"], "own", "float32", init, device="cpu"), ids)
    losses: list[tuple[float, int, int]] = []
    for layer in range(n_layer):
        y, added = walk.run(layer, walk.x)
        q, k = walk.recorded.q[layer], walk.recorded.kv[layer][0]
        for owner in range(max(0, layer - REACH), layer):
            k_owner, v_owner = walk.recorded.kv[owner]
            moved = match_heads(by_head(k_owner), by_head(k), by_head(q), walk.turns is not None)
            heads = with_ones(
                cast(Any, walk.blocks[layer]).attn, attended(q, moved, k_owner, v_owner)
            )
            losses.append((fit_output(heads, added, walk.x.flatten(0, 1))[1], layer, owner))
        walk.x = y
    owner_of = list(range(n_layer))
    for _, layer, owner in sorted(losses):
        free = (
            owner_of[layer] == layer
            and owner_of[owner] == owner
            and layer not in (source for other, source in enumerate(owner_of) if other != source)
        )
        if free and len(set(owner_of)) > n_layer - n_layer // 2:
            owner_of[layer] = owner
    pairs = [{"layer": layer, "owner": owner, "loss": loss} for loss, layer, owner in losses]
    return {"layer_map": owner_of, "calibration_tokens": ids.numel(), "pairs": pairs}


def calibration_rows(text: Tokens) -> Tensor:
    """Rows of consecutive tokens, (ROWS, TOKENS), spread evenly over a text."""
    last = len(text.tokens) - TOKENS
    if last < 0:
        raise ValueError(f"a text of {len(text.tokens)} tokens is too short to calibrate on")
    starts = np.linspace(0, last, ROWS).astype(int)
    own = TOKENS - len(text.prefix)
    return torch.from_numpy(np.stack([text.begun(s, s + own) for s in starts]))
