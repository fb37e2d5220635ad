"""The Hadamard rotation, which spreads a row's outliers over all of its channels."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def hadamard(size: int, device: torch.device | str = "cpu") -> Tensor:
    """The orthogonal, symmetric Hadamard matrix (size, size) of Sylvester, in fp32.

    Raises ValueError for a size that is no power of two.
    """
    if size < 1 or size & (size - 1):
        raise ValueError(f"a Hadamard matrix of Sylvester has a power of 2 rows, not {size}")
    matrix = torch.ones(1, 1, device=device)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / size**0.5
