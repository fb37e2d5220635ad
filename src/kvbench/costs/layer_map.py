"""Layer maps: which layer owns the K and V that each layer reads. Standard library only.

Cross-layer attention (Brandon et al. 2024, arXiv:2405.12981) as data: entry i of a map is the layer
whose K/V layer i reads. An owner reads its own; a borrower computes Q only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

GROUPS = {"own": 1, "pairs": 2, "triples": 3}  # name -> layers that share one K/V
ENDS = "ends"  # pairs, but the first and the last layer own theirs
NAMES = (*GROUPS, ENDS)


def owners(layer_map: str | Sequence[int], n_layer: int) -> list[int]:
    """The owner of each layer's K/V, as a list of `n_layer` layer numbers.

    `layer_map` is one of NAMES (the first layer of each group owns, so an odd last layer owns its
    own), the list itself, or the list as `label` writes it. Raises ValueError for a map in which a
    layer reads one that does not own its K/V or comes later.
    """
    if isinstance(layer_map, str):
        if layer_map in GROUPS:
            size = GROUPS[layer_map]
            return [layer - layer % size for layer in range(n_layer)]
        if layer_map == ENDS:
            return [
                layer if layer in (0, n_layer - 1) else layer - (layer - 1) % 2
                for layer in range(n_layer)
            ]
        if not layer_map.replace("-", "").isdecimal():
            known = f"{', '.join(NAMES)}, or a list of layers"
            raise ValueError(f"unknown layer map {layer_map!r}; known: {known}")
        layer_map = [int(layer) for layer in layer_map.split("-")]
    owner = list(layer_map)
    if len(owner) != n_layer:
        raise ValueError(f"layer map has {len(owner)} entries for {n_layer} layers")
    for layer, source in enumerate(owner):
        if not 0 <= source <= layer or owner[source] != source:
            raise ValueError(
                f"layer map: layer {layer} reads layer {source}, which is not an owner below it"
            )
    return owner


def owners_in(layer_map: str | Sequence[int], shape: Mapping[str, Any]) -> list[int]:
    """`owners` of a model, whose layers may share K/V by themselves (`kv_owner` of its shape).

    A layer that borrows in the model borrows from what its owner reads. Raises ValueError.
    """
    asked = owners(layer_map, shape["n_layer"])
    own = shape.get("kv_owner")
    return asked if own is None else owners([asked[layer] for layer in own], len(asked))


def label(layer_map: str | Sequence[int]) -> str:
    """A layer map as part of a file name: its name, or its layers joined by hyphens."""
    return layer_map if isinstance(layer_map, str) else "-".join(map(str, layer_map))
