"""Inputs that cannot be had: a small file in their place says why, and cells say "not measured".

A study that asks for more than its machine can reach still makes everything else. Standard library
only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvbench.files import write_text

MARK = "not available: "


class NotMeasuredError(Exception):
    """An input that could not be had, and why, in one line."""


def reason(path: str | Path) -> str | None:
    """Why the file cannot be had, where `path` only says so; None for the file itself."""
    with open(path, "rb") as file:
        head = file.read(4096)
    return head.decode().removeprefix(MARK).strip() if head.startswith(MARK.encode()) else None


def check(path: str | Path) -> None:
    """Raise NotMeasuredError, with the reason, where `path` only says that there is no file."""
    why = reason(path)
    if why is not None:
        raise NotMeasuredError(why)


@contextmanager
def passed_on(*outputs: str | Path) -> Iterator[None]:
    """Where an input turns out to be unavailable, so are the outputs: they say the same.

    Without outputs, nothing is caught.
    """
    try:
        yield
    except NotMeasuredError as missing:
        if not outputs:
            raise
        for output in outputs:
            write_text(output, f"{MARK}{missing}\n")
