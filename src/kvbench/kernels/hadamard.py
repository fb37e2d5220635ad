"""The Hadamard rotation, which spreads a row's outliers over all of its channels."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def hadamard(size: int, device: torch.device | str = "cpu") -> Tensor:
    """An orthogonal, symmetric matrix (size, size) of Hadamard matrices of Sylvester, in fp32.

    One where size is a power of two; else as many as fill the diagonal, each of the largest power
    of two that divides size: for 96, three of 32 by 32.
    """
    block = size & -size
    matrix = torch.ones(1, 1, device=device)
    while len(matrix) < block:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return torch.block_diag(*[matrix / block**0.5] * (size // block))
