"""Caches that are broken on purpose, and a model whose answers show it."""

import sys
from types import ModuleType

import torch

from kvbench.caches import dense
from kvbench.models.build import build

POSITIONS, TOKENS, BACK = 96, 40, 47  # of the copier: it says what stood BACK tokens before


def broken(monkeypatch, attend):
    """A dense cache whose attention reads through `attend(k, v, layer)`, by the name `broken`."""

    class KVCache(dense.KVCache):
        def attend(self, layer, q):
            kept = self.k[layer], self.v[layer]
            self.k[layer], self.v[layer] = attend(kept[0].clone(), kept[1].clone(), layer)
            y = super().attend(layer, q)
            self.k[layer], self.v[layer] = kept
            return y

    module = ModuleType("kvbench.caches.broken")
    module.KVCache = KVCache
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return "broken"


def copier():
    """One layer by hand: position p attends to p - BACK and says its token. A perfect copy head."""
    width = POSITIONS + TOKENS
    shape = {"arch": "gpt2", "n_layer": 1, "n_head": 1, "n_embd": width, "vocab_size": TOKENS}
    model = build(shape | {"block_size": POSITIONS}, "own", "float32", device="cpu")
    for name, parameter in model.named_parameters():
        parameter.fill_(1.0 if ".ln_" in name and name.endswith("weight") else 0.0)
    position, token = torch.eye(width).split([POSITIONS, TOKENS])
    model.get_parameter("transformer.wpe.weight").copy_(position)
    model.get_parameter("transformer.wte.weight").copy_(token)
    q, k, v = model.get_parameter("transformer.h.0.attn.c_attn.weight").split(width)
    q[: POSITIONS - BACK, BACK:POSITIONS] = 10 * torch.eye(POSITIONS - BACK)
    k[:POSITIONS, :POSITIONS] = torch.eye(POSITIONS)
    v[POSITIONS:, POSITIONS:] = torch.eye(TOKENS)
    model.get_parameter("transformer.h.0.attn.c_proj.weight").copy_(10 * torch.eye(width))
    return model
