"""The cells of one benchmark and preset in one file, as lines: what figures and tables read.

A study of ten thousand cells has half a dozen readers of each. One file between them is one input
of each of these jobs, where every cell would be: for Snakemake to plan, and for them to open.
Written and read line by line: memory does not grow with the cells but for what a reader keeps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kvbench.records.record import Record
from kvbench.records.store import COMPLETE, RecordError, read_record, write_lines

SUFFIX = ".jsonl"
FROM = "cell"  # the key of a line that names the file its record was read from
LINES = "lines"  # the only key of the last line: how many are before it
# Folder -> what its records call the benchmark, where that differs. Not read from the registry, so
# that a new benchmark gathers no other one's cells again.
KINDS = {"latency": "latency_vs_T", "vram": "vram_vs_T", "controls": "latency_vs_T"}
SIZES = {"B": "batch_size", "T": "T", "D": "depth", "P": "P", "r": "replicate"}
PLACE = re.compile(
    r"results/[^/]+/(?:samples/)?(?P<kind>\w+)/(?P<pretrained>[^/]+)/"
    r"(?:(?P<mode>(?:eager|step|graph|compile)-\w+)/)?"
    r"(?P<version>[^/]+?)(?:_(?P<phase>prefill|decode))?(?P<sizes>(?:/[BTDPr]\d+)*)\.json"
)


def gather(paths: Iterable[str | Path], out: str | Path, named: bool = True) -> None:
    """Write whole records as lines, in the order given; where `named`, each with its file.

    Raises RecordError for a file that is no whole record, or another cell's.
    """
    write_lines(out, _lines(paths) if named else map(read_cell, paths))


def _lines(paths: Iterable[str | Path]) -> Iterator[Record]:
    count = 0
    for path in paths:
        yield {FROM: str(path), **read_cell(path)}
        count += 1
    yield {LINES: count}


def read_cell(path: str | Path) -> Record:
    """The record of a cell or sample. Raises RecordError also where it is another cell's."""
    record = read_record(path)
    check_place(path, record)
    return record


def check_place(path: str | Path, record: Record) -> None:
    """Raise RecordError where a record says otherwise than the path that it was read from."""
    found = re.search(f"{PLACE.pattern}$", Path(path).as_posix())
    if found is None:
        return
    expected: Record = {key: found[key] for key in ("pretrained", "mode", "version", "phase")}
    expected["benchmark_name"] = KINDS.get(found["kind"], found["kind"])
    for size in found["sizes"].split("/")[1:]:
        expected[SIZES[size[0]]] = int(size[1:])
    for key, value in expected.items():
        if value is not None and record.get(key, value) != value:
            raise RecordError(
                f"{path} holds another cell: its {key} is {record[key]!r}, not {value!r}; "
                f"delete it and run again: rm '{path}'"
            )


def gathered(path: str | Path) -> Iterator[tuple[str, Record]]:
    """Each cell's file and its record, one at a time; of a record's own file, itself."""
    if Path(path).suffix != SUFFIX:
        yield str(path), read_cell(path)
        return
    cure, count, expected_count = f"delete it and run again: rm '{path}'", 0, None
    for n, record in enumerate(read_lines(path), start=1):
        if expected_count is not None:
            raise RecordError(f"{path}, line {n}, comes after the last; {cure}")
        if record.keys() == {LINES}:
            expected_count = record[LINES]
            continue
        if record.get(COMPLETE) is not True:
            raise RecordError(f"{path}, line {n}, is not a whole record; {cure}")
        count += 1
        cell = record.pop(FROM, f"{path}, line {n}")
        try:
            check_place(cell, record)
        except RecordError as error:
            raise RecordError(f"{path}, line {n}: {error}") from None
        yield cell, record
    if expected_count != count:
        raise RecordError(
            f"{path} has {count} cells of {expected_count or 'an unknown number'}; {cure}"
        )


def read_lines(path: str | Path) -> Iterator[Record]:
    """The mappings that a file of JSON lines holds, one at a time.

    Raises RecordError, naming file and line, for a line that is none.
    """
    with open(path, "rb") as lines:
        for n, line in enumerate(lines, start=1):
            try:
                record = json.loads(line.decode())
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise RecordError(
                    f"{path}, line {n}, is not a whole record; delete it and run again: rm '{path}'"
                )
            yield record
