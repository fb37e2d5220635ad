"""Layer maps: which layer owns the K and V that each layer reads. Standard library only.

Cross-layer attention (Brandon et al. 2024, arXiv:2405.12981) as data: entry i of a map is the layer
whose K/V layer i reads. An owner reads its own; a borrower computes Q only.
"""

from __future__ import annotations

from collections.abc import Sequence

GROUPS = {"own": 1, "pairs": 2, "triples": 3}  # name -> layers that share one K/V


def owners(layer_map: str | Sequence[int], n_layer: int) -> list[int]:
    """The owner of each layer's K/V, as a list of `n_layer` layer numbers.

    `layer_map` is a name of GROUPS (the first layer of each group owns, so an odd last layer owns
    its own) or the list itself. Raises ValueError for a map in which a layer reads one that does
    not own its K/V or comes later.
    """
    if isinstance(layer_map, str):
        if layer_map not in GROUPS:
            known = f"{', '.join(GROUPS)}, or a list of layers"
            raise ValueError(f"unknown layer map {layer_map!r}; known: {known}")
        size = GROUPS[layer_map]
        return [layer - layer % size for layer in range(n_layer)]
    owner = list(layer_map)
    if len(owner) != n_layer:
        raise ValueError(f"layer map has {len(owner)} entries for {n_layer} layers")
    for layer, source in enumerate(owner):
        if not 0 <= source <= layer or owner[source] != source:
            raise ValueError(
                f"layer map: layer {layer} reads layer {source}, which is not an owner below it"
            )
    return owner
