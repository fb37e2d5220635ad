"""A cache whose layers are stored in two formats: some in the model's dtype, the rest described."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from kvbench.caches import Cache, cache_class
from kvbench.costs.description import Description
from kvbench.costs.layout import Layout


def by_layer(base: type[Cache], description: Description, **members: Any) -> type[Cache]:
    """The class of caches of a description, from a `base` that stores every layer so."""
    of_all = description.without_layers()
    place = {"__module__": base.__module__}
    uniform = type("KVCache", (base,), {"description": of_all, **place, **members})
    if not description.dense_layers:
        return uniform
    plain = Description(window=description.window, sinks=description.sinks)
    own = {
        "description": description,
        "coded": uniform,
        "dense": cache_class(plain.data()),
        "window": description.window or 0,
        **place,
    }
    kinds = (RowsByLayer,) if hasattr(base, "rows") else (ByLayer,)
    return type("KVCache", kinds, own)


class ByLayer(Cache):
    """Each layer in the cache of its own format."""

    description: Description
    coded: type[Cache]
    dense: type[Cache]

    def __init__(self, layers: Iterable[int], *args: Any, **kwargs: Any) -> None:
        super().__init__(layers, *args, **kwargs)
        kwargs["n_layer"] = self.n_layer
        apart = set(self.description.plain_layers(self.n_layer))
        split = [i for i in self.layers if i not in apart], [i for i in self.layers if i in apart]
        self.parts = [
            kind(some, *args, **kwargs)
            for kind, some in zip((self.coded, self.dense), split, strict=True)
            if some
        ]
        self.layer_caches = {layer: part for part in self.parts for layer in part.layers}
        self.rings = {layer: ring for part in self.parts for layer, ring in part.rings.items()}

    def bind(self, bias: Any) -> None:
        """Take the model's bias from keys that are stored in codes."""
        for part in self.parts:
            if isinstance(part, self.coded):
                part.bind(bias)  # type: ignore[attr-defined]

    def update(self, layer: int, k: Tensor, v: Tensor) -> None:
        self.layer_caches[layer].update(layer, k, v)

    def attend(self, layer: int, q: Tensor) -> Tensor:
        return self.layer_caches[layer].attend(layer, q)

    def slot(self, layer: int, position: int) -> int:
        return self.layer_caches[layer].slot(layer, position)

    def advance(self, T: int) -> None:
        super().advance(T)
        for part in self.parts:
            part.advance(T)

    def rewind(self, length: int) -> None:
        for part in self.parts:
            part.rewind(length)
        super().rewind(length)

    def storages(self) -> Iterator[Tensor]:
        for part in self.parts:
            yield from part.storages()

    @classmethod
    def layout(cls, head_dim: int, itemsize: int) -> Layout:
        of_all = cls.coded.layout(head_dim, itemsize)
        return replace(of_all, dense_layers=cls.description.dense_layers)


class RowsByLayer(ByLayer):
    """As above, where kernels can read the rows of every layer."""

    def rows(self, layer: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """K and V of one layer, and their scales where coded (`kvbench.engine.static_view`)."""
        return self.layer_caches[layer].rows(layer)  # type: ignore[attr-defined]
