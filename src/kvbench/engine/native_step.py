"""A decode step of a whole model as one call of the native kernels.

Between products and attention, Python and torch's operators run on caches that the weights have
swept: a fifth of a step of GPT-2 (docs/speed.md). A step is bound to a model and a cache once, and
then looks at no tensor but the tokens.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from kvbench.caches import Cache
from kvbench.engine.fast_cache import NativeCache
from kvbench.engine.packed_linear import FEW, PanelLinear, TwoFormLinear
from kvbench.kernels.cpu import abi
from kvbench.kernels.cpu.bound import Linear
from kvbench.kernels.cpu.library import Native
from kvbench.kernels.cpu.tensors import FORMATS
from kvbench.models.base import LanguageModel

ERRORS = {
    1: MemoryError("no memory for a decode step's copy of its rows"),
    2: IndexError("a token that the vocabulary does not have"),
}
MISSING = "the native step has no {}"


def why_not(model: LanguageModel, cache: Cache) -> str | None:
    """What of a model, or of what it is to run over, the native step does not compute."""
    if model.config.unstepped:
        return MISSING.format(model.config.unstepped)
    if not isinstance(cache, NativeCache):
        return "the native kernels do not read what this cache stores"
    if any(own.description.rotate for own in cache.turning.values()):
        return MISSING.format("rotation of rows")
    linears = [m for m in model.modules() if isinstance(m, nn.Linear | PanelLinear)]
    plain = {m.plain for m in linears if isinstance(m, TwoFormLinear)}
    if any(isinstance(m, nn.Linear) and m not in plain for m in linears):
        return MISSING.format("weights other than panels")
    if plain and cache.batch > FEW:
        return f"matrix units are faster from {FEW + 1} sequences on"
    return None


class NativeStep:
    """`step(token, cache)` gives logits (B, 1, vocab_size) of token (B, 1), which follows what the
    cache that it was made for holds, and moves the cache on, as the model's forward does.
    """

    def __init__(self, model: LanguageModel, cache: NativeCache, native: Native) -> None:
        self.model, self.kernel, self.parts = model, native.kernels.step, model.decoder()
        B, block_size = cache.batch, model.config.block_size
        self.room = block_size if len(cache.rings) == len(cache.layers) else cache.capacity
        self.shape = (B, 1)
        parts, self.dtype, size = self.parts, cache.dtype, cache.head_dim
        layers = (abi.Layer * len(parts.layers))(*self._layers(cache))
        first = parts.layers[0]  # which borrows nothing: its q, k and v are the most
        width, heads = _bound(first.proj).outputs, _bound(first.qkv).outputs
        mixed, inner = _bound(first.proj).inputs, _bound(first.up).outputs
        pairs = 0 if parts.speed is None else len(parts.speed)

        def buffer(*shape: int, dtype: torch.dtype = self.dtype) -> Tensor:
            return torch.empty(shape, dtype=dtype)

        gate = None if first.gate is None else buffer(B, inner)
        self.kept = (  # alive as long as the library has their addresses
            layers, parts.speed, buffer(B, width), buffer(B, width), buffer(B, heads),
            buffer(B, mixed), buffer(B, inner), gate,
            buffer(max(width, inner, size), dtype=torch.float32),
            buffer(2 * pairs, dtype=torch.float32),
        )  # fmt: skip
        tied = parts.embedding is parts.head.weight
        self.head = _bound(parts.head)
        self.step = abi.Step(
            FORMATS[self.dtype], B, width, size, mixed // size, cache.n_head, len(layers), pairs,
            ctypes.addressof(layers), None if tied else _address(parts.embedding),
            _address(parts.positions), _address(parts.speed), _norm(parts.norm),
            self.head.address, *map(_address, self.kept[2:]),
        )  # fmt: skip
        self.address = ctypes.addressof(self.step)

    def _layers(self, cache: NativeCache) -> Iterator[abi.Layer]:
        """Each block as the library has it; attention is given the heads that share K/V."""
        for i, layer in enumerate(self.parts.layers):
            attention = cache.attentions[layer.owner]
            attention.cache.group = _bound(layer.proj).inputs // cache.head_dim // cache.n_head
            rows = (a.address for a in cache.appends[i]) if layer.owner == i else (None, None)
            ring = cache.rings.get(layer.owner, (0, 0))
            linears = (layer.qkv, layer.proj, layer.up, layer.down)
            yield abi.Layer(
                *map(_norm, (layer.norm_1, layer.norm_2, layer.q_norm, layer.k_norm)),
                *(_bound(m).address for m in linears),
                None if layer.gate is None else _bound(layer.gate).address,
                *rows, attention.address, *ring, layer.turns,
            )  # fmt: skip

    def __call__(self, token: Tensor, cache: Cache) -> Tensor:
        position = cache.length
        if position >= self.room or token.shape != self.shape:
            raise ValueError(
                f"a step of {tuple(token.shape)} tokens after {position}; allowed: {self.shape} "
                f"tokens after at most {self.room - 1}"
            )
        token = token.contiguous()
        logits = torch.empty(*self.shape, self.head.outputs, dtype=self.dtype)
        if failed := self.kernel(self.address, token.data_ptr(), position, logits.data_ptr()):
            raise ERRORS[failed]
        cache.advance(1)
        return logits


def bind(model: LanguageModel, cache: Cache, native: Native) -> str | None:
    """Have the model's forwards of one token over this cache be native steps, or say why not."""
    reason = why_not(model, cache)
    if reason is None:
        assert isinstance(cache, NativeCache)
        cache.step = NativeStep(model, cache, native)
    return reason


def _bound(linear: nn.Module) -> Linear:
    return cast(PanelLinear, linear).bound


def _address(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _norm(norm: Any) -> abi.Norm:
    """A LayerNorm or RMSNorm, or none, as the library has it."""
    if norm is None:
        return abi.Norm()
    mean = isinstance(norm, nn.LayerNorm)
    bias = norm.bias if mean else None
    return abi.Norm(_address(norm.weight), _address(bias), norm.eps, mean)
