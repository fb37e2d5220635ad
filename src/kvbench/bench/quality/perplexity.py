"""Perplexity, as v1 scores a text and as a version does reading K/V through its cache.

`teacher_forced` is v1's own model by plain forwards, every layer with its own K/V: it cannot see a
cache, so every version of a preset scores alike. `cached` stores K/V in the very cache that is
timed, with the version's layer map and weights. Both read the same windows, so what the cache costs
is compared token by token.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from kvbench.bench.quality import probes
from kvbench.bench.quality.divergence import first_divergence
from kvbench.bench.quality.logits import Comparison, LayerError, by_depth, compare
from kvbench.bench.quality.one_forward import cached_logits
from kvbench.bench.quality.paired import pair
from kvbench.bench.quality.sensitivity import Readings
from kvbench.bench.setup import ready
from kvbench.cell import Cell
from kvbench.inputs.tokens import Tokens, load_tokens
from kvbench.models.base import LanguageModel
from kvbench.models.build import build
from kvbench.models.rotation import unfolded
from kvbench.records.record import Record

Span = tuple[int, int, int]


def windows(n_tokens: int, context: int, stride: int, prefix: int = 0) -> list[Span]:
    """(begin, end, first scored) of each window of a text.

    Each window scores the tokens after the previous window's end. Its own first token is scored
    where `prefix` tokens of the `context` come before it (BOS), from which it is predicted, and
    never without; windows that would leave tokens out for these overlap by one less.
    """
    unpredicted = int(not prefix)
    found, scored, context = [], unpredicted, context - prefix
    for begin in range(0, n_tokens - unpredicted, min(stride, context)):
        end = min(begin + context, n_tokens)
        found.append((begin, end, max(scored, begin + unpredicted)))
        scored = end
        if end == n_tokens:
            break
    return found


def evenly(found: list[Span], most: int | None) -> list[Span]:
    """At most `most` of the windows, spread evenly over the text; None is all of them."""
    n = min(most or len(found), len(found))
    return [found[i * len(found) // n] for i in range(n)]


def run(cell: Cell, weights: str | None, tokens: str, reference: str | None = None) -> Record:
    """One perplexity cell: both modes over the same windows, and the version paired with v1.

    `reference` is v1's weights file, by default the version's own. Raises FormatError for a text
    too short for one window, or of ids that the model does not have.
    """
    vocab_size, context = cell.model_config["vocab_size"], cell.context
    text = load_tokens(tokens, vocab_size, at_least=context)
    token_ids, before = text.tokens, len(text.prefix)
    with ready(cell, weights) as setup:
        model = setup.model
        plain = model
        shares = len(model.config.owning_layers) < model.config.n_layer
        if shares or cell.fold or reference not in (None, weights):
            source = reference or weights
            plain = build(cell.model_config, "own", cell.dtype, source, cell.seed, setup.device)
        every = windows(len(token_ids), cell.context, cell.stride, before)
        spans = evenly(every, cell.max_windows)
        setup.begin()
        found, layers = [], LayerError()
        readings = Readings(plain, model, cell.storage, len(spans))
        for n, span in enumerate(spans):
            ids = torch.from_numpy(text.begun(*span[:2])).to(setup.device)
            readings.window, first = n, before + span[2] - span[0]
            found.append(_compared(plain, model, cell, ids, first, layers, readings))
        asked = probes.probes(text, cell.probes, cell.context, cell.seed)
        sums = {
            "teacher_forced": [float(one.nll_plain.sum()) for one in found],
            "cached": [float(one.nll_cached.sum()) for one in found],
        }
        counts = [end - first for _, end, first in spans]
        scored = np.concatenate([token_ids[first:end] for _, end, first in spans])
        n_bytes = int(text.token_bytes[scored].sum())
        modes = {mode: score(part, sum(counts), n_bytes) for mode, part in sums.items()}
        documents = [text.document_of((end + first) // 2) for _, end, first in spans]
        paired = pair(found, cell.seed, len(every), documents)
        return setup.record(
            **cell.axes(),
            stride=cell.stride,
            prompt=cell.prompt,
            prefix_tokens=text.prefix.tolist(),
            n_windows=len(spans),
            n_tokens=sum(counts),
            n_bytes=n_bytes,
            **modes["cached"],
            degradation=100 * (paired["perplexity_ratio"]["ratio"] - 1),
            modes=modes,
            against="v1",
            paired=paired,
            **readings.record(cell.seed, len(every), documents),
            divergence=_divergence(cell, plain, model, text, spans),
            probes=probes.run(plain, model, cell.storage, asked),
            by_depth=by_depth(found, [np.arange(s[2], s[1]) - s[0] + before for s in spans]),
            by_layer={"attention_error": layers.relative()},
            window_tokens=counts,
            window_document=documents,
            window_nll=sums,
            window_kl=[float(one.kl.mean()) for one in found],
            window_agreement=[float(one.agree.mean()) for one in found],
        )


def _compared(
    plain: LanguageModel,
    model: LanguageModel,
    cell: Cell,
    ids: Tensor,
    scored: int,
    layers: LayerError,
    readings: Readings,
) -> Comparison:
    """One window (T,) read both ways; v0 is v1's plain forward, so one reading does for both.

    The prompt is what comes before the first scored token; its own attention sees what the cell's
    `prompt` says.
    """
    prompt = scored if cell.prompt == "exact" else 0
    outputs: dict[str, list[Tensor]] = {"plain": [], "cached": []}
    expected = cached_logits(plain, "none", ids[None, :-1], outputs["plain"])[0, scored - 1 :]
    if plain is model and cell.storage == "none":
        got, outputs["cached"] = expected, outputs["plain"]
    else:
        read = cached_logits(model, cell.storage, ids[None, :-1], outputs["cached"], prompt)
        outputs["plain"] = [y[:, :, prompt:] for y in outputs["plain"]]
        got = read[0, scored - 1 :]
    layers.add(outputs["plain"], [unfolded(y, cell.fold) for y in outputs["cached"]])
    found = compare(expected, got, ids[scored:])
    readings.add(ids, scored, expected)
    return found


def _divergence(
    cell: Cell, plain: LanguageModel, model: LanguageModel, text: Tokens, spans: list[Span]
) -> Record:
    """First divergence on prompts that begin windows spread over the text."""
    asked = cell.divergence
    P = asked["prompt_tokens"]
    own = P - len(text.prefix)
    begins = [begin for begin, end, _ in spans if end - begin >= own]
    chosen = begins[:: max(1, len(begins) // asked["prompts"])][: asked["prompts"]]
    rows = np.stack([text.begun(begin, begin + own) for begin in chosen])
    prompts = torch.from_numpy(rows).to(plain.lm_head.weight.device)
    return first_divergence(plain, model, cell.storage, prompts, asked["tokens"])


def score(window_sums: list[float], n_tokens: int, n_bytes: int) -> dict[str, float]:
    """loss (nats a token), perplexity = exp(loss), and bits per byte of the scored text."""
    total = math.fsum(window_sums)
    return {
        "loss": total / n_tokens,
        "perplexity": math.exp(total / n_tokens),
        "bits_per_byte": total / math.log(2) / n_bytes,
    }
