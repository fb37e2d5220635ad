"""The cells of one benchmark and preset in one file, as lines: what figures and tables read.

A study of ten thousand cells has half a dozen readers of each. One file between them is one input
of each of these jobs, where every cell would be: for Snakemake to plan, and for them to open.
Written and read line by line: memory does not grow with the cells but for what a reader keeps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kvbench.records.store import IncompleteRecord, read_record, write_lines

SUFFIX = ".jsonl"
FROM = "cell"  # the key of a line that names the file its record was read from


def gather(paths: Iterable[str | Path], out: str | Path, named: bool = True) -> None:
    """Write whole records as lines, in the order given; where `named`, each with its file.

    Raises IncompleteRecord for a file that is no whole record.
    """
    write_lines(out, (({FROM: str(path)} if named else {}) | read_record(path) for path in paths))


def gathered(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each cell's file and its record, one at a time; of a record's own file, itself."""
    if Path(path).suffix != SUFFIX:
        yield str(path), read_record(path)
        return
    with open(path, encoding="utf-8") as lines:
        for n, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
            except ValueError:
                said = f"{path}, line {n}, is not a whole record; delete it and run again"
                raise IncompleteRecord(f"{said}: rm '{path}'") from None
            yield record.pop(FROM, f"{path}, line {n}"), record
