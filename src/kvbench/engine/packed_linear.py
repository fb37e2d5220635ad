"""Linear modules over packed weights. A decode step multiplies one row by every weight, so its time
is the time to read them, and row-major weights are read at a fraction of the memory's bandwidth.

`pack` exchanges the modules of a model once, at set-up; the model's own code stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from kvbench.engine.backend import Choice
from kvbench.models.base import LanguageModel, LinearGELU

M = TypeVar("M", bound=nn.Module)
FEW = 32  # rows, beyond which a processor with matrix units multiplies faster from plain weights


class PanelLinear(nn.Module):
    """A Linear, with its GELU if it has one, over the native kernels' panels.

    They take the place of the plain weights: fresh memory costs several times the packing.
    """

    in_place = True

    def __init__(self, linear: nn.Linear, choice: Choice) -> None:
        super().__init__()
        assert choice.native is not None
        gelu = isinstance(linear, LinearGELU)
        self.bound = choice.native.linear(linear.weight, linear.bias, gelu, self.in_place)
        self.weight = nn.Parameter(self.bound.panels, requires_grad=False)
        self.bias = linear.bias  # counted with the parameters, as the panels are
        self.outputs = linear.out_features

    def forward(self, x: Tensor) -> Tensor:
        return self.bound(x, x.new_empty(*x.shape[:-1], self.outputs))


class PanelEmbedding(nn.Module):
    """An Embedding that reads its rows out of a tied head's panels: one copy serves both."""

    def __init__(self, head: PanelLinear) -> None:
        super().__init__()
        self.weight, self.rows_of = head.weight, head.bound.rows_of

    def forward(self, idx: Tensor) -> Tensor:
        return self.rows_of(idx)


class TwoFormLinear(PanelLinear):
    """Panels for few rows, the plain weights, kept, for many: matrix units (AMX) want them so."""

    in_place = False

    def __init__(self, linear: nn.Linear, choice: Choice) -> None:
        super().__init__(linear, choice)
        self.plain = linear

    def forward(self, x: Tensor) -> Tensor:
        return self.plain(x) if x.numel() > FEW * x.size(-1) else super().forward(x)


class PrepackedLinear(nn.Module):
    """A Linear, with its GELU if it has one, over weights in oneDNN's own order.

    Needs no compiler; the operators are private ones that torch's own compiler emits.
    """

    def __init__(self, linear: nn.Linear, choice: Choice) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), 1)
        gelu = isinstance(linear, LinearGELU)
        self.after: tuple[str, list[float], str] = (
            ("gelu", [], "tanh") if gelu else ("none", [], "")
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, *self.after)


Kind = type[PanelLinear] | type[PrepackedLinear]


def pack(model: LanguageModel, choice: Choice) -> None:
    """Exchange the model's Linear modules for those of `choice.linear`, once.

    The Embedding of a tied head reads the head's panels, so that plain weights are freed unless
    many rows are multiplied by them.
    """
    kind = kind_of(model.lm_head.weight.dtype, choice)
    packed: dict[int, nn.Module] = {}
    for parent, name, linear in list(_children(model, nn.Linear)):
        if kind and linear.in_features % 2 == 0:
            packed[id(linear.weight)] = module = kind(linear, choice)
            setattr(parent, name, module)
    for parent, name, embedding in list(_children(model, nn.Embedding)):
        head = packed.get(id(embedding.weight))
        if type(head) is PanelLinear:
            setattr(parent, name, PanelEmbedding(head))


def kind_of(dtype: torch.dtype, choice: Choice) -> Kind | None:
    """The module that `choice.linear` stands for, for weights of one dtype; None for torch's."""
    if choice.linear == "panels":
        matrix_units = dtype is torch.bfloat16 and torch.cpu._is_amx_tile_supported()
        return TwoFormLinear if matrix_units else PanelLinear
    return PrepackedLinear if choice.linear == "prepacked" else None


def copied_bytes(model: nn.Module) -> int:
    """Bytes of packed weights that are no parameters: oneDNN's, outside torch's allocator."""
    held = [m.packed for m in model.modules() if isinstance(m, PrepackedLinear)]
    return sum(torch.ops.mkldnn._nbytes(packed) for packed in held)


def _children(model: nn.Module, kind: type[M]) -> Iterator[tuple[nn.Module, str, M]]:
    for parent in model.modules():
        for name, module in parent.named_children():
            if isinstance(module, kind):
                yield parent, name, module
