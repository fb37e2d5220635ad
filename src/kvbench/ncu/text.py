"""Lines of a file of unknown encoding, with its checksum, in one bounded pass."""

import hashlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BIG = 64 << 20  # bytes from which on reading is slow enough to deserve a progress line
LONGEST = 16 << 20  # characters of a line: a binary file without newlines must not fill the memory


class _Hashing(io.RawIOBase):
    """A raw stream that hashes and counts what passes through it, so that pipes work too."""

    def __init__(self, raw: io.FileIO):
        self.raw = raw
        self.sha = hashlib.sha256()
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self.raw.readinto(buffer) or 0
        self.sha.update(memoryview(buffer)[:n])
        self.count += n
        return n


def _encoding(head: bytes) -> str:
    """The encoding that the first bytes give away; PowerShell redirection writes UTF-16."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if head.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) // 4:  # UTF-16 without a mark: every other byte of ASCII is 0
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8"


class Text:
    """The lines of a file, newline kept; `sha256` is that of the file once all are read.

    Undecodable bytes become U+FFFD: they stand in kernel names and program output, or part the
    groups of a number.
    """

    def __init__(self, path: str | Path, progress: bool = False):
        self.path = Path(path)
        self.progress = progress
        self.sha256 = ""

    def __iter__(self) -> Iterator[str]:
        size = self.path.stat().st_size
        step = size // 10 if self.progress and size >= BIG else size + 1
        due = step
        with open(self.path, "rb", buffering=0) as file:
            stream = _Hashing(file)
            buffered = io.BufferedReader(stream, 1 << 20)
            encoding = _encoding(buffered.peek(4096)[:4096])
            # Universal newlines: CRLF ends a line, and so does the bare CR of a progress bar.
            text = io.TextIOWrapper(buffered, encoding, errors="replace", newline=None)
            while line := text.readline(LONGEST):
                yield line
                if stream.count >= due:
                    percent = 100 * stream.count // size
                    print(f"kvbench.ncu: {self.path.name}: {percent} %", file=sys.stderr)
                    due += step
            self.sha256 = stream.sha.hexdigest()
