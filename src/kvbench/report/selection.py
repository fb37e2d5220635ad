"""A few of many batches or lengths, for what can only be read of a few. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable


def evenly_spaced(values: Iterable[int], most: int) -> list[int]:
    """At most so many of the values, sorted: the first, the last, and what lies evenly between."""
    every = sorted(set(values))
    if len(every) <= most:
        return every
    return [every[round(k * (len(every) - 1) / (most - 1))] for k in range(most)]


def doublings(values: Iterable[int]) -> list[int]:
    """Of the values, those next to 1, 2, 4, ...: what a log axis is marked at."""
    every = sorted(set(values))
    powers = (2**k for k in range(every[0].bit_length() - 1, every[-1].bit_length()))
    return sorted({min(every, key=lambda value: abs(value - power)) for power in powers})


def shown_of(shown: int, of: int, what: str) -> str:
    """`4 of 20 batches`, or nothing where all are shown."""
    return f"{shown} of {of} {what}" if shown < of else ""
