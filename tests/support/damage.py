"""Damaged files, as Hypothesis draws them: bytes changed, cut out, put in, repeated, cut off."""

import time
from contextlib import contextmanager

from hypothesis import strategies as st

SECONDS = 2  # in which any file is read or refused


@st.composite
def damaged(draw, whole):
    """A copy of the bytes `whole` with one to four places damaged."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from([1, 1, 2, 8, 64]))
        way = draw(st.sampled_from(["set", "flip", "cut", "insert", "repeat", "end"]))
        if way == "set":
            data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif way == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif way == "cut":
            del data[at : at + length]
        elif way == "insert":
            data[at:at] = draw(st.sampled_from([b"\0", b"\xff" * 8, b"\n", b'"', b"1e400", b"NaN"]))
        elif way == "repeat":
            data[at:at] = data[at : at + length] * 3
        elif way == "end":
            del data[at:]
    return bytes(data)


@contextmanager
def read_or_refused(path, *refusals):
    """The block reads the file, or one of `refusals` names it in one line; either at once."""
    began = time.monotonic()
    try:
        yield
    except refusals as refusal:
        line = str(refusal)
        assert str(path) in line and line.isprintable() and len(line) < 1000, line
    assert time.monotonic() - began < SECONDS
