"""Records as data frames: one tidy frame a benchmark, with the columns of its table.

A row is a cell: which model, cache, batch and length, on what, then its numbers with their
intervals. A frame keeps the records behind it, and so does what pandas selects of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from kvbench.analysis import retrieval
from kvbench.analysis.regression import read_lines
from kvbench.benchmarks import BENCHMARKS, record_name
from kvbench.records.names import names_of
from kvbench.records.read import each_cell
from kvbench.records.record import Record, by, is_error, readings_ms, timing_key
from kvbench.report.tables import ROWS, rows

ABOUT = ("pretrained", "dtype", "device_name", "threads", "weights")  # of every frame, at its end
PLACES = ("batch_size", "T", "depth")  # what two cells share that are compared
WHOLE = ("batch_size", "T", "depth", "P", "replicates", "disturbed")


class Frame(pd.DataFrame):
    """A data frame that keeps the records it was made of; its selections keep them too."""

    _metadata: ClassVar[list[str]] = ["records"]
    records: list[Record]

    @property
    def _constructor(self) -> type[Frame]:
        return Frame


class Results(Mapping[str, Frame]):
    """The frames of one or several files of results, by benchmark; also as attributes.

    `latency`, `decode`, `vram`, `phase`, `perplexity`, `retrieval`, `roofline`, `capacity`,
    `energy`: those that were measured. `runs` has a row for every timed run of every process.
    `records` are the records as they are, with every key of docs/records.md.
    """

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self._of = by(records, "benchmark_name")
        self._frames: dict[str, Frame] = {}

    def __getitem__(self, benchmark: str) -> Frame:
        if benchmark not in tuple(iter(self)):
            raise KeyError(f"no {benchmark!r} in these results; there are: {', '.join(self)}")
        if benchmark not in self._frames:
            self._frames[benchmark] = self._make(benchmark)
        return self._frames[benchmark]

    def __iter__(self) -> Iterator[str]:
        known = {record_name(name): name for name in reversed(BENCHMARKS)}
        shown = {*ROWS, "retrieval"}
        yield from (known.get(name, name) for name in self._of if known.get(name, name) in shown)
        if any("energy" in cell for cell in self._of.get("latency_vs_T", [])):
            yield "energy"
        if {"latency_vs_T", "decode"} & self._of.keys():
            yield "runs"

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getattr__(self, benchmark: str) -> Frame:
        if benchmark.startswith("_"):
            raise AttributeError(benchmark)
        try:
            return self[benchmark]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    def __repr__(self) -> str:
        return f"Results({', '.join(f'{name}: {len(self[name])} rows' for name in self)})"

    def _make(self, benchmark: str) -> Frame:
        if benchmark == "runs":
            cells = [*self._of.get("latency_vs_T", []), *self._of.get("decode", [])]
            return _frame(cells, [row for cell in cells for row in _runs(cell)])
        if benchmark == "retrieval":
            return self._retrieval()
        cells = self._of[record_name({"energy": "latency"}.get(benchmark, benchmark))]
        found = rows(cells, ROWS[benchmark])
        about = (_about(cell) for cell in cells)
        return _frame(cells, [row | more for row, more in zip(found, about, strict=True)])

    def _retrieval(self) -> Frame:
        """Several rows a cell, each paired with v1's cell of the same model and device."""
        cells = self._of["retrieval"]
        studies = by(cells, "pretrained", "dtype", "device_name").values()
        found = [
            row | _about(cell)
            for own in studies
            for cell in own
            for row in retrieval.rows_of(cell, retrieval.reference_of(own))
        ]
        return _frame([cell for own in studies for cell in own], found)


def read_results(*paths: str | Path) -> Results:
    """The results of studies: of `results.jsonl` files, or folders `results/{study}` that hold one.

    Raises FileNotFoundError with what makes the file, and RecordError, naming file and line,
    for one that is no whole record of this schema version.
    """
    if not paths:
        raise TypeError("read_results needs a path: a results.jsonl, or the folder that holds it")
    return Results([record for path in paths for record in _records(Path(path))])


def _records(path: Path) -> Iterator[Record]:
    """The records of one file, or of a study's folder: its results.jsonl, else what it gathered."""
    file = path / "results.jsonl" if path.is_dir() else path
    if file.is_file():
        yield from (record for _, record in read_lines(file))
        return
    gathered = sorted(map(str, path.glob("cells/*.jsonl")))
    if not gathered:
        raise FileNotFoundError(
            f"no results at {str(file)!r}: `kvbench run` or `snakemake --cores 1 all` makes them"
        )
    yield from (record for _, record in each_cell(gathered))


def _frame(cells: Iterable[Record], found: list[Record]) -> Frame:
    frame = Frame(found)
    names = names_of(cells)
    frame.insert(0, "cache", [names[version] for version in frame["version"]])
    for name in set(WHOLE) & set(frame):  # whole numbers, also where some rows have none
        frame[name] = frame[name].astype("Int64")
    frame.insert(0, "model", frame.pop("pretrained"))
    frame.records = list(cells)
    return frame


def _about(cell: Record) -> Record:
    return {key: cell.get(key) for key in ABOUT}


def _runs(cell: Record) -> Iterator[dict[str, Any]]:
    """A row for every run: milliseconds of the whole, and of the reference run beside it."""
    if is_error(cell):
        return
    key = timing_key(cell)
    place = {name: cell[name] for name in ("version", *PLACES) if name in cell}
    for process in cell["processes"]:
        readings = readings_ms(process)
        for number, run in enumerate(process["runs"]):
            yield {
                **place,
                "replicate": process["replicate"],
                "run": number + 1,
                "time_ms": run[key],
                "reference_ms": readings[number] if readings else None,
                "began_at": process["machine_state"].get("began_at"),
                **_about(cell),
            }
