"""Rotations folded into weights, once, when a model is built: at run time they cost nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kvbench.kernels.hadamard import hadamard


@torch.no_grad()
def fold_values(model: nn.Module) -> None:
    """Have each head compute V H, and the output projection undo it: the same model.

    c_attn holds the rows of q, k and v, in this order; a borrower reads turned values as well.
    """
    config: Any = model.config
    hs, nkv = config.head_dim, config.n_kv_head
    H = hadamard(hs, model.get_parameter("lm_head.weight").device)
    for layer in range(config.n_layer):
        attn = model.get_submodule(f"transformer.h.{layer}.attn")
        if layer in config.owning_layers:
            for _, parameter in attn.get_submodule("c_attn").named_parameters():
                rows = parameter[-nkv * hs :]  # V's, or their biases
                turned = torch.einsum("hij,ik->hkj", rows.float().reshape(nkv, hs, -1), H)
                rows.copy_(turned.reshape(rows.shape))
        weight = attn.get_submodule("c_proj").get_parameter("weight")  # (C, nh * hs)
        columns = weight.float().unflatten(1, (-1, hs)) @ H
        weight.copy_(columns.flatten(1))


def unfolded(y: Tensor, fold: str | None) -> Tensor:
    """A head's attention output (B, nh, T, hs) of a folded model, as without the fold."""
    return y if fold is None else y.float() @ hadamard(y.size(-1), y.device)


FOLDS = {"values": fold_values}  # what a version's `fold` may name
