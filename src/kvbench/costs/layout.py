"""What a cache keeps of one K/V head of one layer, as numbers: bytes for any length follow.

Plain data, so that records carry it and costs are worked out without the cache. Standard library
only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Layout:
    """Bytes of a token's K and V, scales included, and when they change.

    With `block`, tokens are kept whole (`whole` bytes each) until the next block begins; then their
    block is settled, with `scales` bytes for it as one. With `first_whole` only the first block is
    kept whole, for good, and `scales` counts once. With `most`, no more tokens than that are kept.
    `rotated`: each new row of Q and K is multiplied by a matrix of its head's size.
    """

    row: int
    block: int = 0
    whole: int = 0
    scales: int = 0
    first_whole: bool = False
    most: int | None = None
    rotated: bool = False

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

    def within(self, window: int) -> Layout:
        """The layout in a layer that sees its newest `window` tokens alone; 0 is all.

        Rows of older tokens are given up; a block is not, since its rows were coded together.
        """
        if not window or self.block:
            return self
        return replace(self, most=min(window, self.most or window))

    def pairs(self, depth: int, T: int) -> int:
        """Query-key pairs of T new tokens after `depth`: the sum of what each of them sees."""
        alone = depth + T if self.most is None else max(depth, min(depth + T, self.most))
        growing = alone - depth  # tokens that see every token before them
        rest = (T - growing) * (self.most or 0)
        return growing * depth + growing * (growing + 1) // 2 + rest


def equal_rows(row_bytes: int) -> Layout:
    """The layout of equal K and V rows."""
    return Layout(row=2 * row_bytes)
