"""Retrieval: how often a version finds what stands in its cache, by length.

Each item is read once, through the very cache that is timed, and the logits after it rank its
answer among the distractors. Versions read the same items, so that an analysis pairs them; v1's
cell says what v1 itself can do.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from kvbench.bench.quality.one_forward import reverse_stored
from kvbench.bench.quality.sensitivity import places
from kvbench.bench.setup import ready
from kvbench.caches import Storage
from kvbench.cell import Cell
from kvbench.inputs.retrieval import CANDIDATES, Items, load_items
from kvbench.models.base import LanguageModel
from kvbench.records.record import Record

AGAIN, CORRUPTED = 2, 1  # items of each task and length, at most
QUESTION = 16  # last tokens, which are fed after the stored codes were corrupted


def run(cell: Cell, weights: str | None, tasks: str) -> Record:
    """One retrieval cell. `tasks` is a file of `kvbench.inputs.retrieval.write_items`.

    Some items are read again with a corrupted cache, and by v1 through another exact path.
    """
    every = load_items(tasks, cell.model_config["vocab_size"])
    with ready(cell, weights) as setup:
        model = setup.model
        owns = len(model.config.owning_layers) == model.config.n_layer
        reference = owns and cell.storage == "dense" and not cell.fold
        setup.begin()
        scores, again, corrupted = [], [], []
        for (task, length), asked in every.items():
            where = {"task": task, "length": length}
            some = places(len(asked.ids), AGAIN), places(len(asked.ids), CORRUPTED)
            scores.append(where | score(model, cell.storage, asked))
            if reference:
                with sdpa_kernel(SDPBackend.MATH):
                    again.append(where | score(model, cell.storage, asked, some[0], length // 2))
            if cell.use_cache:
                first = length - QUESTION
                read = score(model, cell.storage, asked, some[1], first, corrupt=True)
                corrupted.append(where | read)
        return setup.record(
            lengths=cell.lengths,
            items=cell.items,
            candidates=CANDIDATES,
            prefix_tokens=next(iter(every.values())).prefix.tolist(),
            scores=scores,
            **({"noise_floor": again} if again else {}),
            **({"corrupted": corrupted} if corrupted else {}),
        )


@torch.inference_mode()
def score(
    model: LanguageModel,
    storage: Storage,
    asked: Items,
    some: set[int] | None = None,
    first: int = 0,
    corrupt: bool = False,
) -> Record:
    """Ranks and margins of the items, or of those at `some` places; `item` are these places.

    rank: 1 where the answer is likelier than every distractor. margin: the answer's log-probability
    less that of the likeliest distractor, in nats; None for no finite number. `first` tokens are
    fed before the others, with `corrupt` to a cache whose stored codes are corrupted then.
    """
    shown = sorted(range(len(asked.ids)) if some is None else some)
    ranks, margins = [], []
    for n in shown:
        candidates = torch.from_numpy(asked.candidates[n])
        logits = _last_logits(model, storage, asked.ids[n], first, corrupt)
        answer, *others = logits.float().cpu()[candidates].double().tolist()
        ranks.append(1 + sum(not answer > other for other in others))
        margin = answer - max(others)
        margins.append(margin if math.isfinite(margin) else None)
    return {"item": shown, "rank": ranks, "margin": margins}


def _last_logits(
    model: LanguageModel, storage: Storage, ids: np.ndarray, first: int, corrupt: bool
) -> Tensor:
    """Logits (vocab_size,) after the last of `ids` (T,)."""
    fed = torch.from_numpy(ids)[None].to(model.lm_head.weight.device)
    cache = model.cache_of(storage, 1, fed.size(1))
    if first:
        model(fed[:, :first], cache)
    if corrupt:
        reverse_stored(cache)
    return model(fed[:, first:], cache)[0, -1]
