"""The Triton kernels bound to tensors: shapes checked, settings filled in, scratch made once.

A bound kernel is a `Launch`: it waits for nothing, allocates nothing and may be captured in a CUDA
graph. Settings say how a kernel runs; `choices` are those that are worth measuring.
"""

from kvbench.kernels.triton.bound.attention import Attention, AttentionSetting
from kvbench.kernels.triton.bound.launch import Launch
from kvbench.kernels.triton.bound.linear import (
    RowSetting,
    RowsSetting,
    add_norm,
    embed,
    few_rows,
    one_row,
)
from kvbench.kernels.triton.bound.prompt import Quantise

__all__ = [
    "Attention",
    "AttentionSetting",
    "Launch",
    "Quantise",
    "RowSetting",
    "RowsSetting",
    "add_norm",
    "embed",
    "few_rows",
    "one_row",
]
