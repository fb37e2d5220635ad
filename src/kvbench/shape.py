"""A model's shape, typed. Standard library only.

`kvbench.presets` holds published ones; a test holds the keys equal to the fields of the
architectures' config classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict


class Shape(TypedDict):
    """A model's shape: the arguments of its architecture's config class, and where weights are."""

    arch: str  # module of kvbench.models
    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    vocab_size: int
    weights: NotRequired[str]  # random, trained, gguf, hub, or a path
    n_kv_head: NotRequired[int]
    n_inner: NotRequired[int]
    head_dim: NotRequired[int]
    dropout: NotRequired[float]
    bias: NotRequired[bool]
    qkv_bias: NotRequired[bool]
    o_bias: NotRequired[bool]
    mlp_bias: NotRequired[bool]
    activation: NotRequired[str | None]
    norm: NotRequired[str]
    norm_offset: NotRequired[bool]
    norm_eps: NotRequired[float]
    qk_norm: NotRequired[str]
    rope_base: NotRequired[float]
    rope_share: NotRequired[float]
    rope_scaling: NotRequired[Mapping[str, Any] | None]
    no_rope: NotRequired[Sequence[int]]
    windows: NotRequired[Sequence[int]]
    window_rope_base: NotRequired[float]
    parallel: NotRequired[bool]
    tied: NotRequired[bool]
    embed_scale: NotRequired[float]
    query_scale: NotRequired[float]
    kv_owner: NotRequired[list[int]]  # of each layer, where the published model shares K and V
