"""The one error this package raises for a file it cannot answer for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvbench.files.foreign import printable


class NcuError(ValueError):
    """An export that is refused; the message is one line and says why."""

    def __init__(self, message: str):
        # What it quotes may hold newlines, or a NUL.
        super().__init__(printable(" ".join(message.split())))


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Put the file's name before what is refused of it."""
    try:
        yield
    except NcuError as error:
        raise NcuError(f"{path}: {error}") from None
