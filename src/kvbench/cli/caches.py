"""`kvbench new-cache`: a file with a cache to begin with."""

from __future__ import annotations

import keyword
from pathlib import Path
from typing import Annotated

import typer

from kvbench import versions
from kvbench.cli.errors import Refusal
from kvbench.files import write_text

BEGINNING = '''"""{title}: one row a token, K and V as they are. Change what is stored."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kvbench.caches import Cache, causal_sdpa
from kvbench.costs.layout import Layout, equal_rows


class KVCache(Cache):
    """K and V (B, n_head, capacity, head_dim) of every layer that owns its K/V."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        shape = (self.batch, self.n_head, self.capacity, self.head_dim)
        make = {{"dtype": self.dtype, "device": self.device}}
        self.k = {{layer: torch.zeros(shape, **make) for layer in self.layers}}
        self.v = {{layer: torch.zeros(shape, **make) for layer in self.layers}}

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Store K and V (B, n_head, T, head_dim) of the T tokens after the `length` held."""
        new = slice(self.length, self.length + k.size(2))
        self.k[layer][:, :, new] = k
        self.v[layer][:, :, new] = v

    def attend(self, layer: int, q: Tensor) -> Tensor:
        """Causal attention of q (B, nh, T, head_dim), the T newest tokens, over what is stored."""
        end = self.length + q.size(2)
        return causal_sdpa(q, self.k[layer][:, :, :end], self.v[layer][:, :, :end])

    def rows(self, layer: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """K, V and their scales, for kernels. Leave it out where a token is not one row."""
        return self.k[layer], self.v[layer], None, None

    def storages(self) -> Iterator[Tensor]:
        """Every tensor that outlives a step: their bytes are the cache's."""
        yield from self.k.values()
        yield from self.v.values()

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        """Bytes of a row of K, or of V, of one head: scales count."""
        return equal_rows(head_dim * itemsize)
'''


def new_cache(name: Annotated[str, typer.Argument(help="its name, as in: my-cache")]) -> int:
    """Write a file with a cache to begin with, and say how it is checked and measured."""
    stem = name.removesuffix(".py").replace("-", "_")
    if not stem.isidentifier() or keyword.iskeyword(stem):
        raise Refusal(f"name {name!r} is no name of a module; allowed: letters, digits and '-'")
    called = stem.replace("_", "-")
    if called in versions.BY_NAME or called in versions.VERSIONS:
        raise Refusal(f"{called!r} is a cache already (kvbench list caches): take another name")
    path = Path(f"{stem}.py")
    if path.exists():
        raise Refusal(f"{path} exists: take another name, or delete it")
    write_text(path, BEGINNING.format(title=called))
    print(f"{path}: a dense cache; change what it stores, and layout() with it")
    print("rows(): with it the native and Triton kernels run the cache, where it stores floats or")
    print("        their int8 or int4 codes; without it, its own attend() is what is timed")
    print(f"check:   kvbench check {path}")
    print(f"measure: kvbench run dense {path} --model gpt2 --tokens 32")
    return 0
