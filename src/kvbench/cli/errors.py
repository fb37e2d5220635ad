"""What ends a command in one line on stderr, with exit status 2 or 1."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MANY = 20  # known words, beyond which they are named only where none comes near


class Refusal(Exception):  # noqa: N818 (the word for what is not done, not for a fault)
    """Something asked for that cannot be done: what, what is allowed, what to do. Exit status 2."""

    status = 2


class Failed(Refusal):
    """Something that was done and did not succeed. Exit status 1."""

    status = 1


def unknown(what: str, word: str, known: Iterable[str], further: str = "") -> Refusal:
    """The refusal of a word that is not among the known ones, with what comes near it."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.6)
    if near and len(names) > MANY:
        return Refusal(f"unknown {what} {word!r}: did you mean {' or '.join(map(repr, near))}?")
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return Refusal(f"unknown {what} {word!r}: {hint}known: {', '.join(names)}{further}")
