"""This study against another one's `results.jsonl`: what got slower, what got larger.

The two were measured on two days, so that their processes are not paired. What differed between the
days (heat, neighbours, a new kernel) moves all cells alike; it is reported apart, and each cell is
judged against it. The gate closes where a cell is shown to be worse by more than the margin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kvbench.analysis.drift import compare_cells
from kvbench.analysis.table import Table
from kvbench.analysis.verdict_notes import at
from kvbench.analysis.verdicts import ALPHA, speedup
from kvbench.records.gather import read_lines as read_lines_of
from kvbench.records.read import MixedRecordsError
from kvbench.records.record import SETTING, TIMED, Record, is_error, times_ms
from kvbench.records.schema import SchemaError, check_record
from kvbench.records.store import COMPLETE, SCHEMA_VERSION, RecordError
from kvbench.stats.decisions import SLOWER, verdicts
from kvbench.stats.shift import FEWEST, compare_with_shift

Named = tuple[str, Record]  # where a record was read, and the record
PLACE = ("pretrained", "version", "batch_size", "T", "depth", "prompt_length")
MUST_AGREE = (*SETTING, "weights")
ABOUT = ("commit", "pytorch_version")  # named for both studies
EQUAL, LARGER, SMALLER = "equal", "larger", "smaller"


class RegressionError(ValueError):
    """Something got slower or larger: what, where, and by how much."""


def read_lines(path: str | Path) -> Iterator[Named]:
    """The records of a `results.jsonl`, each with its file and line, one at a time.

    Raises RecordError, naming both, for a line that is no whole record of this schema version.
    """
    for n, record in enumerate(read_lines_of(path), start=1):
        if record.get("schema_version") != SCHEMA_VERSION or record.get(COMPLETE) is not True:
            raise RecordError(
                f"{path}, line {n}, is no whole record of schema version {SCHEMA_VERSION}: see "
                f"python -m kvbench.records.schema {path}"
            )
        try:
            check_record(record, f"{path}, line {n}")
        except SchemaError as error:
            raise RecordError(str(error)) from None
        yield f"{path}, line {n}", record


def table(now: Iterable[Named], baseline: str, margin: float, allow: Iterable[str]) -> Table:
    """This study's cells against those of the `results.jsonl` at `baseline`."""
    record = against(now, read_lines(baseline), margin, allow)
    title = f"This study against {baseline}"
    return Table(title, record["rows"], notes(record), record=record)


def against(
    now: Iterable[Named],
    before: Iterable[Named],
    margin: float,
    allow: Iterable[str] = (),
    alternated: bool = False,
) -> Record:
    """Every cell of `now` that `before` has too: before over now, interval and word.

    Both are read once, and of `before` only what is compared is kept.

    Times are compared by `stats.shift`, one family; memory, which repeats to the byte, by its peak.
    `alternated`: the two were measured by turns, round by round, so that times are compared in
    pairs of one round, as versions are, and what slows all cells alike is found too.

    Raises MixedRecordsError, naming both records, where a pair differs in device, dtype, threads or
    weights and `allow` does not name the key, and ValueError where the two have no cell in common.
    """
    kept = dict if alternated else _kept
    earlier = {_place(record): (name, kept(record)) for name, record in before if _compared(record)}
    rows: list[Record] = []
    timed: list[tuple[Record, tuple[Record, Record]]] = []
    alone = 0
    for name, record in now:
        if not _compared(record):
            continue
        if _place(record) not in earlier:
            alone += 1
            continue
        other_name, other = earlier[_place(record)]
        _check_comparable(name, record, other_name, other, set(allow))
        row = {"benchmark": record["benchmark_name"], **_where(record)}
        if record["benchmark_name"] in TIMED:
            timed.append((row, (record if alternated else _kept(record), other)))
        else:
            row |= _bytes(record, other)
        rows.append(row)
    if not rows:
        raise ValueError("the two studies have no cell in common: nothing to compare")
    shift, compared = None, []
    if alternated:
        compared = [compare_cells(*pair, {}, margin, by_clock=True) for _, pair in timed]
    else:
        cells = [(mine["times"], theirs["times"]) for _, (mine, theirs) in timed]
        shift, compared = compare_with_shift(cells, margin)
    words = verdicts(compared, ALPHA)
    for (row, _), verdict in zip(timed, words, strict=True):
        row |= {**speedup(verdict), "verdict": verdict.word, "replicates": verdict.replicates}
    for row in rows:
        best = row["smaller"] if "smaller" in row else row["speedup_high"]  # that the data allow
        worse = row["verdict"] in (SLOWER, LARGER) and 1 / best > 1 + margin
        certain = alternated or shift is not None  # slower code from a slower day
        row["regression"] = worse and (certain or row["verdict"] == LARGER)
    about = [{key: r.get(key) for key in ABOUT} for r in (record, other)]
    return {
        "benchmark_name": "compare",
        "margin": margin,
        "level": words[0].level if words else 1 - ALPHA,
        "allowed": sorted(allow),
        "unmatched": alone,
        "timed": len(timed),
        "alternated": alternated,
        "shift": None if shift is None else asdict(shift),
        "now": about[0],
        "before": about[1],
        "rows": rows,
    }


def notes(record: Record) -> list[str]:
    """What must be read with the rows."""
    now, before = record["now"], record["before"]
    return [
        "speedup: the time before over the time now, above 1 is faster; smaller: the peak before "
        f"over the peak now. now: commit {now['commit']}, torch "
        f"{now['pytorch_version']}; before: commit {before['commit']}, torch "
        f"{before['pytorch_version']}.",
        _shift_says(record),
        f"Intervals: {100 * record['level']:.4g} %, "
        f"{'over rounds' if record['alternated'] else 'of independent sets of processes'}, "
        "adjusted for all rows. The gate closes where a whole interval says slower by more than "
        f"{100 * record['margin']:.3g} %, or a peak is larger by more.",
        f"{record['unmatched']} cells have no counterpart and were not compared."
        + (f" Allowed to differ: {', '.join(record['allowed'])}." if record["allowed"] else ""),
    ]


def _shift_says(record: Record) -> str:
    """What all cells moved by, and what that hides."""
    shift = record["shift"]
    if record["alternated"]:
        return (
            "Both were measured by turns, round by round: times are compared in pairs of one "
            "round, by the clock."
        )
    if shift is None:
        return (
            f"{record['timed']} timed cells of several processes are fewer than {FEWEST}: nothing "
            "tells a slower day from slower code, so that no time closes the gate."
        )
    return (
        f"All {shift['cells']} timed cells together: {shift['ratio']:.4g} "
        f"[{shift['low']:.4g}, {shift['high']:.4g}] times as long as before. Speed-ups are over "
        "that of the other cells: a day, or a change that slows all code alike, is in this "
        "line and in no row."
    )


def check(record: Record) -> None:
    """Raises Regression, naming every cell that got slower or larger by more than the margin."""
    worse = [
        f"{row['version']} of {row['pretrained']} ({row['benchmark']}, {at(row)}) is "
        f"{100 * (1 / row.get('speedup', row.get('smaller')) - 1):.1f} % {row['verdict']}"
        for row in record["rows"]
        if row["regression"]
    ]
    if worse:
        raise RegressionError("; ".join(worse))


def _compared(record: Record) -> bool:
    return not is_error(record) and record["benchmark_name"] in (*TIMED, "vram_vs_T")


def _kept(record: Record) -> Record:
    """What a later study is compared with: not every step of every run."""
    kept = {key: record.get(key) for key in ("provenance", *MUST_AGREE, *ABOUT)}
    if record["benchmark_name"] in TIMED:
        return kept | {"times": times_ms(record)}
    return kept | {"peak_memory_bytes": record["peak_memory_bytes"]}


def _place(record: Record) -> tuple[Any, ...]:
    return (record["benchmark_name"], *(record.get(key) for key in PLACE))


def _where(record: Record) -> Record:
    return {key: record[key] for key in PLACE if record.get(key) is not None}


def _bytes(now: Record, before: Record) -> Record:
    ratio = now["peak_memory_bytes"] / before["peak_memory_bytes"]
    word = EQUAL if ratio == 1 else LARGER if ratio > 1 else SMALLER
    return {"smaller": 1 / ratio, "verdict": word}


def _check_comparable(name: str, now: Record, other: str, before: Record, allow: set[str]) -> None:
    """One comparison shares its device, dtype, threads and weights."""
    pairs = {key: (now.get(key), before.get(key)) for key in MUST_AGREE}
    digests = [(r.get("provenance") or {}).get("weights") for r in (now, before)]
    if all(digests):
        pairs["weights "] = (digests[0], digests[1])  # by digest, where both records have one
    for key, (mine, theirs) in pairs.items():
        if mine != theirs and key.strip() not in allow:
            raise MixedRecordsError(
                f"studies differ in {key.strip()}: {name} has {mine}, {other} has {theirs}; "
                f"to compare them all the same, name it in compare.allow"
            )
