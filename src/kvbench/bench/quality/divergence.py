"""How long a version's greedy decoding says the same as v1's."""

from __future__ import annotations

import torch
from torch import Tensor

from kvbench.bench.quality.one_forward import cached_logits
from kvbench.caches import Storage
from kvbench.engine.generate import generate
from kvbench.models.base import LanguageModel
from kvbench.records.record import Record


@torch.inference_mode()
def first_divergence(
    plain: LanguageModel, model: LanguageModel, storage: Storage, prompts: Tensor, n: int
) -> Record:
    """Generated tokens before the first that differs from v1's, for each of `prompts` (B, P).

    v1 decodes `n` tokens, one prompt at a time: a processor reads weights for two rows at a
    fraction of the pace at which it reads them for one. The version reads them in one forward.
    Until its top token differs both have the same history, so the place is where its own decoding
    would leave v1's. `first` is None where they agree to the end.
    """
    room = plain.config.block_size - prompts.size(1)
    n = min(n, room)
    dense = plain.cache_of("dense", 1, prompts.size(1) + n)
    said = torch.cat([generate(plain, row[None], n, dense) for row in prompts])  # (B, P + n)
    logits = cached_logits(model, storage, said[:, :-1])[:, -n:]
    differs = logits.argmax(-1) != said[:, -n:]  # (B, n)
    first = [row.nonzero()[0].item() if row.any() else None for row in differs.cpu()]
    return {"prompt_tokens": prompts.size(1), "tokens": n, "first": first}
