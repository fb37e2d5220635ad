"""What a cache keeps of one K/V head of one layer, as numbers: bytes for any length follow.

Plain data, so that records carry it and costs are worked out without the cache. Standard library
only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kvbench.costs.description import Description
from kvbench.costs.part import BLOCK


@dataclass(frozen=True)
class Layout:
    """Bytes of a token's K and V, scales included, and when they change.

    With `block`, tokens are kept whole (`whole` bytes each) until the next block begins; then their
    block is settled, with `scales` bytes for it as one. With `first_whole` only the first block is
    kept whole, for good, and `scales` counts once. With `most`, no more tokens than that are kept.
    `rotated`: each new row of Q and K is multiplied by a matrix of its head's size. In
    `dense_layers`, counted from the end where negative, a token takes `dense_row` bytes instead.
    `staged`: bytes of a whole row that wait in a place of their own until their block is settled.
    """

    row: int
    block: int = 0
    whole: int = 0
    scales: int = 0
    first_whole: bool = False
    most: int | None = None
    rotated: bool = False
    dense_row: int = 0
    dense_layers: tuple[int, ...] = ()
    staged: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dense_layers", tuple(self.dense_layers))  # JSON has lists

    def at(self, layer: int, n_layer: int, window: int = 0) -> Layout:
        """The layout in one of `n_layer` layers, which sees its newest `window` tokens; 0 is all.

        Rows of older tokens are given up; a block is not, since its rows were coded together.
        """
        dense = layer in self.dense_layers or layer - n_layer in self.dense_layers
        found = Layout(row=self.dense_row, most=self.most) if dense else self
        if not window or found.block:
            return found
        return replace(found, most=min(window, found.most or window))

    def bytes(self, tokens: int) -> int:
        """Bytes that hold `tokens` tokens."""
        kept = self.tokens(tokens)
        if not self.block:
            return kept * self.row
        if self.first_whole:
            first, rest = min(kept, self.block), max(0, kept - self.block)
            return first * self.whole + rest * self.row + self.scales * (rest > 0)
        settled = max(0, kept - 1) // self.block
        open_tokens = kept - settled * self.block
        return settled * (self.block * self.row + self.scales) + open_tokens * self.whole

    def tokens(self, tokens: int) -> int:
        """How many of `tokens` tokens are kept."""
        return tokens if self.most is None else min(tokens, self.most)

    def reserved(self, capacity: int) -> int:
        """Bytes that are set aside for `capacity` tokens: more than `bytes` of as many by the part
        of the open block's place that they do not fill.
        """
        kept = self.tokens(capacity)
        if not self.block or self.first_whole:
            return self.bytes(kept)
        waiting = kept - max(0, kept - 1) // self.block * self.block
        return self.bytes(kept) + (min(self.block, kept) - waiting) * self.staged

    def pairs(self, depth: int, T: int) -> int:
        """Query-key pairs of T new tokens after `depth`: the sum of what each of them sees."""
        alone = depth + T if self.most is None else max(depth, min(depth + T, self.most))
        growing = alone - depth  # tokens that see every token before them
        rest = (T - growing) * (self.most or 0)
        return growing * depth + growing * (growing + 1) // 2 + rest


def equal_rows(row_bytes: int) -> Layout:
    """The layout of equal K and V rows."""
    return Layout(row=2 * row_bytes)


def layout_of(description: Description, head_dim: int, itemsize: int) -> Layout:
    """The layout of a described cache; `itemsize` is of the model's dtype.

    Raises DescriptionError where rows of `head_dim` numbers cannot be stored so.
    """
    description.check_head(head_dim)
    parts, dense = (description.keys, description.values), head_dim * itemsize
    rows = [part.row_bytes(head_dim, itemsize) for part in parts]
    window = description.window
    common = Layout(
        row=sum(rows),
        most=None if window is None else window + description.sinks,
        rotated=description.keys.coded and bool(description.rotate),
        dense_row=2 * dense,
        dense_layers=description.dense_layers,
    )
    if description.centred:
        whole, scales = 2 * dense, 2 * 4 * head_dim
        return replace(common, block=BLOCK, whole=whole, scales=scales, first_whole=True)
    if block := max(part.block for part in parts):
        staged = sum(dense for part in parts if part.block)
        unstaged = sum(row for part, row in zip(parts, rows, strict=True) if not part.block)
        scales = sum(part.block_bytes(head_dim) for part in parts)
        return replace(common, block=block, whole=staged + unstaged, scales=scales, staged=staged)
    return common
