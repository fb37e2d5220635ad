"""Probes: tasks that need one exact row of the cache, where perplexity averages a fault away.

Most tokens of a text are guessed from their neighbours, so a cache that loses one row in a hundred,
or swaps two, costs perplexity next to nothing. These sequences can be continued only by
finding one earlier place and reading what stood there:

copy        distinct tokens in no order, then the same again: the second time is scored
induction   pairs a b in no order, then the same pairs in another order: each b is scored
needle      key and value in a text, at a depth; the key again at the end: the value is scored

A model that has learnt no such thing scores near 0 on all of them, whatever its cache.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kvbench.bench.quality.one_forward import cached_logits
from kvbench.caches import Storage
from kvbench.inputs.tokens import Tokens
from kvbench.models.base import LanguageModel
from kvbench.records.record import Record

SPAN = 48  # tokens of a copied span; 24 pairs
KEY, VALUE = 6, 4  # tokens of a needle
SHORTEST, LONGEST = 2 * (KEY + VALUE), 256  # tokens of a needle's sequence


@dataclass(frozen=True)
class Probe:
    """Sequences (B, T) and which of their tokens are scored, (B, T)."""

    ids: np.ndarray
    scored: np.ndarray


def probes(text: Tokens, sequences: int, context: int, seed: int) -> dict[str, Probe]:
    """Every probe on a tokenised text, the same for the same seed; each begins with its prefix.

    None is longer than `context`, but for the room that a needle needs.
    """
    rng, tokens = np.random.default_rng(seed), text.tokens
    context = max(SHORTEST, min(LONGEST, context) - len(text.prefix))
    span = min(SPAN, context // 2) // 2 * 2
    known = np.unique(tokens)
    found = {
        "copy": _stack(_copy(_distinct(rng, known, span)) for _ in range(sequences)),
        "induction": _stack(_induction(_distinct(rng, known, span), rng) for _ in range(sequences)),
        "needle": _stack(
            _needle(tokens, known, context, (i + 0.5) / sequences, rng) for i in range(sequences)
        ),
    }
    return {name: _behind(text.prefix, probe) for name, probe in found.items()}


def _behind(prefix: np.ndarray, probe: Probe) -> Probe:
    """A probe whose sequences begin with `prefix`, which is not scored."""
    first = np.broadcast_to(prefix, (len(probe.ids), len(prefix)))
    ids = np.concatenate([first, probe.ids], 1)
    return Probe(ids, np.concatenate([np.zeros_like(first, bool), probe.scored], 1))


def _distinct(rng: np.random.Generator, known: np.ndarray, n: int) -> np.ndarray:
    """`n` ids of the text in no order, each once while the text has that many."""
    return rng.choice(known, n, replace=len(known) < n)


def _copy(span: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ids = np.concatenate([span, span])
    return ids, np.arange(len(ids)) > len(span)  # nothing says that the first will come again


def _induction(span: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    pairs = span.reshape(-1, 2)
    ids = np.concatenate([pairs, pairs[rng.permutation(len(pairs))]]).reshape(-1)
    place = np.arange(len(ids))
    return ids, (place >= len(span)) & (place % 2 == 1)


def _needle(
    tokens: np.ndarray, known: np.ndarray, context: int, depth: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    needle = _distinct(rng, known, KEY + VALUE)
    n_text = max(0, min(context - 2 * (KEY + VALUE), len(tokens)))
    begin = rng.integers(len(tokens) - n_text + 1)
    before, after = np.split(tokens[begin : begin + n_text], [round(depth * n_text)])
    ids = np.concatenate([before, needle, after, needle])
    return ids, np.arange(len(ids)) >= len(ids) - VALUE


def _stack(made: Iterable[tuple[np.ndarray, np.ndarray]]) -> Probe:
    ids, scored = zip(*made, strict=True)
    return Probe(np.stack(ids).astype(np.int64), np.stack(scored))


@torch.inference_mode()
def answers(model: LanguageModel, storage: Storage, probe: Probe) -> tuple[Tensor, Tensor]:
    """Log-probability of each scored token, and whether it is the top one: (B, scored) each."""
    device = model.lm_head.weight.device
    ids = torch.from_numpy(probe.ids).to(device)
    right, logprob = [], []
    for row, scored in zip(ids, torch.from_numpy(probe.scored).to(device), strict=True):
        logits = cached_logits(model, storage, row[None, :-1])[0, scored[1:]].float()
        targets = row[scored]
        right.append(logits.argmax(-1) == targets)
        logprob.append(logits.log_softmax(-1).gather(-1, targets[:, None]).squeeze(-1))
    return torch.stack(logprob).cpu(), torch.stack(right).cpu()


def run(
    plain: LanguageModel, model: LanguageModel, storage: Storage, asked: dict[str, Probe]
) -> Record:
    """Each probe's accuracy and mean log-probability, plain and cached, with every sequence's."""
    same = plain is model and storage == "none"
    found: dict[str, Record] = {}
    for name, probe in asked.items():
        read = {"plain": answers(plain, "none", probe)}
        read["cached"] = read["plain"] if same else answers(model, storage, probe)
        found[name] = {"sequences": len(probe.ids), "scored_tokens": int(probe.scored.sum())}
        for mode, (logprob, right) in read.items():
            found[name] |= {
                f"accuracy_{mode}": right.double().mean().item(),
                f"logprob_{mode}": logprob.double().mean().item(),
                f"sequence_accuracy_{mode}": right.double().mean(1).tolist(),
            }
    return found
