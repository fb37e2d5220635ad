"""Files that others wrote: read whole, or refused in one line that names the file. Stdlib only."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from kvbench.files import Json
from kvbench.files.placeholder import NotMeasuredError

ABOUT = "kvbench"  # the key of a safetensors file's metadata that says what we know of it
WORDS = {str: "text", dict: "an object", int: "a whole number above 0", float: "a number above 0"}
WRAPPERS = ("_orig_mod.", "module.")  # what torch.compile and DistributedDataParallel put in front


class FormatError(ValueError):
    """A file that is not what it is taken for, and why, in one line."""


@contextmanager
def reading(
    path: str | Path, kind: str, refusal: type[FormatError] = FormatError
) -> Iterator[None]:
    """Whatever fails inside, while `path` is read as a file of this kind, is said in one line.

    Raises `refusal`. Running out of memory is no fault of the file and passes through.
    """
    try:
        yield
    except (FormatError, MemoryError, NotMeasuredError):
        raise
    except OSError as error:
        raise refusal(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:
        said = printable((str(error).splitlines() or [""])[0][:200])
        raise refusal(f"{path} is not a whole {kind}: {type(error).__name__}: {said}") from error


def printable(text: str) -> str:
    """The text with every character that is none, as a NUL or a tab, escaped: for a message."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def json_object(
    path: str | Path,
    kind: str,
    needs: Mapping[str, type],
    may: Mapping[str, type] | None = None,
    refusal: type[FormatError] = FormatError,
) -> Json:
    """A JSON object of this kind with every key that `needs` names, and those of `may` or null.

    Each of its type; float takes whole numbers too, and numbers are finite and above 0. Raises
    `refusal`, naming the key.
    """
    with reading(path, kind, refusal):
        found = json.loads(Path(path).read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
        for key, wanted in {**(may or {}), **needs}.items():
            value = found.get(key)
            if value is None and key not in needs:
                continue
            if not _fits(value, wanted):
                raise refusal(
                    f"{path} is not a whole {kind}: its {key!r} is {_shown(value)}; allowed: "
                    f"{WORDS[wanted]}"
                )
        return found


def _fits(value: Any, wanted: type) -> bool:
    if wanted not in (int, float):
        return isinstance(value, wanted)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return (whole or (wanted is float and isinstance(value, float))) and 0 < value < math.inf


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f"{text[:80]}..."


def unwrapped(name: str) -> str:
    """A tensor's name without what compiling or parallel training put in front of it."""
    while name.startswith(WRAPPERS):
        name = name.split(".", 1)[1]
    return name


class Header(NamedTuple):
    """What a safetensors file says of itself."""

    tensors: dict[str, tuple[str, list[int], int]]  # name -> dtype, shape, offset in the file
    about: Json  # what `models.weights.save` recorded; empty for a file from elsewhere


def safetensors_header(path: str | Path, refusal: type[FormatError] = FormatError) -> Header:
    """The header of a safetensors file, without a look at its numbers. Raises `refusal`."""
    with reading(path, "safetensors file", refusal):
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size - 8:
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", None) or {}
        about = json.loads(metadata.get(ABOUT, "{}"))
        if not isinstance(about, dict):
            raise ValueError(f"its metadata {ABOUT!r} is no mapping")
        tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            if not 0 <= begin <= end <= size - 8 - length:
                raise ValueError(f"{name} lies outside the file")
            tensors[name] = (str(entry["dtype"]), list(entry["shape"]), 8 + length + begin)
        return Header(tensors, about)
