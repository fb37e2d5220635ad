"""Names chosen by patterns. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def chosen(known: Iterable[str], patterns: Iterable[str], kind: str) -> list[str]:
    """The names that any of the patterns matches, in the order of `known`; all for no pattern.

    Raises ValueError for a pattern that matches none.
    """
    names, patterns = list(known), list(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"no {kind} {pattern!r}; {kind}s: {', '.join(names)}")
    return [n for n in names if not patterns or any(fnmatchcase(n, p) for p in patterns)]
