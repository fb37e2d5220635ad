"""Weights out of a directory of Hugging Face's, tensor by tensor: no two are in memory at once."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from kvbench.costs.forward import head_dim
from kvbench.files.foreign import reading
from kvbench.models.hf_files import Stored, problem, tensors
from kvbench.models.hf_tensors import HALVES, THREE, TRANSPOSED, Part, ours
from kvbench.models.weights import WeightsError, is_finite
from kvbench.shape import Shape


@torch.no_grad()
def load(model: nn.Module, folder: str | Path, shape: Shape) -> None:
    """Copy a directory's tensors into the parameters of a model of `shape`, cast to their dtype.

    A layer that borrows its K/V takes the rows of q alone. Each file is mapped into memory for one
    tensor at a time. Raises WeightsError for tensors that are missing, of another size, or not
    finite in the parameters' dtype.
    """
    if why := problem(folder, shape):
        raise WeightsError(why)
    found, expected = tensors(folder), ours(shape)
    for name, parameter in model.named_parameters():
        at = 0
        for part in expected[name]:
            if at < len(parameter):  # a borrower is full after q
                rows = ordered(_read(found[part.name]), part, shape)[: len(parameter) - at]
                parameter[at : at + len(rows)].copy_(rows)
                at += len(rows)
        if not is_finite(parameter):
            dtype, theirs = str(parameter.dtype).removeprefix("torch."), expected[name][0].name
            raise WeightsError(f"{folder}: {theirs} has NaN or infinite numbers, in {dtype}")


def _read(stored: Stored) -> Tensor:
    """One tensor, mapped: its numbers are read when they are copied."""
    with (
        reading(stored.file, "safetensors file", WeightsError),
        safe_open(stored.file, framework="pt") as file,
    ):
        return file.get_tensor(stored.name)


def ordered(x: Tensor, part: Part, shape: Shape) -> Tensor:
    """The rows of one of their tensors in our order."""
    hs = head_dim(shape)
    if part.order == TRANSPOSED:
        return x.t()
    if part.order == THREE:
        q, k, v = x.unflatten(0, (-1, 3, hs)).unbind(1)
        order = neighbours(hs, shape)
        return torch.cat([q[:, order], k[:, order], v]).flatten(0, 1)
    if part.order == HALVES:
        return x.unflatten(0, (-1, hs))[:, neighbours(hs, shape)].flatten(0, 1)
    return x


def neighbours(hs: int, shape: Shape) -> Tensor:
    """The channels of a head in which i and i + half turn together, with these side by side."""
    rotated = int(hs * shape.get("rope_share", 1.0))
    pairs = torch.arange(rotated).view(2, -1).T.flatten()
    return torch.cat([pairs, torch.arange(rotated, hs)])
