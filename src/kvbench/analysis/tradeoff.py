"""Bytes, time and quality of each version together: what none of the others beats.

A difference inside either interval is no difference, so that noise beats nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kvbench.analysis.gate_table import asked, said
from kvbench.analysis.gates import FAIL, INCONCLUSIVE, NOT_SENSITIVE, PASS, REFERENCE, gates_of
from kvbench.analysis.implementations import implementations
from kvbench.analysis.quality import MULTIPLIED
from kvbench.analysis.table import Table
from kvbench.records.names import names_of
from kvbench.records.record import SHARED, Record, Row, by, measured
from kvbench.stats.digits import size, spoken
from kvbench.stats.paired import interval

AXES = ("bytes", "prefill", "time", "quality")
UNBEATEN = "unbeaten"


@dataclass(frozen=True)
class Value:
    """One number of one version, with the ends of its interval; of one sample they are its own."""

    at: float
    low: float
    high: float
    one_sample: bool = False


Points = dict[str, dict[str, Value]]  # version -> axis -> value


@dataclass(frozen=True)
class Joined:
    """The cells of one preset that are joined, and where time was measured.

    `stepped` are decode cells of the largest batch and depth, where there are any; `timed` latency
    cells of the smallest batch and the largest T; `scored` perplexity cells.
    """

    timed: list[Record]
    stepped: list[Record]
    scored: list[Record]

    @property
    def place(self) -> str:
        """Where the time was measured, in words; "" without a timed cell."""
        if self.stepped:
            first = self.stepped[0]
            return f"batch {first['batch_size']}, depth {first['depth']}"
        first = next(iter(self.timed), {})
        return f"batch {first['batch_size']}, T {first['T']}" if first else ""


def joined(records: Sequence[Record]) -> Joined:
    """The cells among these that are joined."""
    named = by(measured(records), "benchmark_name")
    latency, decode = named.get("latency_vs_T", []), named.get("decode", [])
    batch = min((cell["batch_size"] for cell in latency), default=0)
    longest = max((cell["T"] for cell in latency), default=0)
    deepest = max(((c["depth"], c["batch_size"]) for c in decode), default=None)
    return Joined(
        [cell for cell in latency if (cell["batch_size"], cell["T"]) == (batch, longest)],
        [cell for cell in decode if (cell["depth"], cell["batch_size"]) == deepest],
        named.get("perplexity", []),
    )


def values(cells: Joined) -> Points:
    """Each version's axes, of those that were measured: kB a token, ms, and per cent.

    time: ms of a decode step, where these were measured, else ms a token of a generation.
    """
    points: Points = {}
    for cell in cells.timed:
        point = points.setdefault(cell["version"], {})
        if first := _prefill(cell):
            point["prefill"] = first
        if not cells.stepped:
            ends, T = cell["time_total_ms_interval"], cell["T"]
            point["time"] = _value(cell["time_per_token_ms_median"], ends, 1 / T)
    for cell in cells.stepped:
        point = points.setdefault(cell["version"], {})
        point["time"] = _value(cell["tpot_ms_median"], cell["tpot_ms_interval"])
    for cell in cells.scored:
        ratio = cell["paired"]["perplexity_ratio"]
        ends = (ratio["ratio"] if ratio[end] is None else ratio[end] for end in ("low", "high"))
        at, low, high = (100 * (value - 1) for value in (ratio["ratio"], *ends))
        change = Value(at, low, high, one_sample=ratio["low"] is None)
        points.setdefault(cell["version"], {})["quality"] = change
    for cell in [*cells.timed, *cells.scored, *cells.stepped]:
        kb = cell["cache_bytes_per_token"] / 1e3
        points[cell["version"]]["bytes"] = Value(kb, kb, kb)
    return points


def _value(at: float, ends: Mapping[str, Any], scale: float = 1.0) -> Value:
    if ends["low"] is None:
        return Value(at, at, at, one_sample=True)
    return Value(at, ends["low"] * scale, ends["high"] * scale)


def _prefill(cell: Record) -> Value | None:
    """Milliseconds to the first token, with its interval over processes."""
    runs = [[run.get("ttft_ms") for run in p["runs"]] for p in cell.get("processes", [])]
    if not runs or any(ms is None for process in runs for ms in process):
        return None
    found = interval(runs)
    return _value(found.point, {"low": found.low, "high": found.high})


def front(points: Points, names: Sequence[str]) -> list[str]:
    """The versions that no other beats: none is as good in all `names` and better in one."""

    def beats(a: dict[str, Value], b: dict[str, Value]) -> bool:
        better = any(a[name].high < b[name].low for name in names)
        return better and all(a[name].at <= b[name].high for name in names)

    whole = {v: point for v, point in points.items() if all(name in point for name in names)}
    return [v for v, b in whole.items() if not any(beats(a, b) for a in whole.values())]


def judge(records: Sequence[Record]) -> Record:
    """The record of one preset's versions side by side, the unbeaten ones first.

    rows: every axis with its interval, the gates' word, and whether no other version beats it in
    all axes that were measured; None for one that lacks an axis. `place` and `axes` say where and
    in what.
    """
    cells = joined(records)
    first = next(iter(measured(records)), records[0])
    points, gates = values(cells), gates_of(records, first["pretrained"])
    axes = [name for name in AXES if sum(name in point for point in points.values()) > 1]
    best = front(points, axes)
    rows = []
    for version, point in points.items():
        row: Row = {"version": version}
        for name in AXES:
            value = point.get(name)
            ends = (None, None) if value is None or value.one_sample else (value.low, value.high)
            row |= {name: value.at if value else None}
            row |= dict(zip((f"{name}_low", f"{name}_high"), ends, strict=True))
        whole = all(name in point for name in axes)
        row |= {"gate": said(gates, version), UNBEATEN: version in best if whole else None}
        rows.append(row)
    rows.sort(key=lambda row: (not row[UNBEATEN], _rank(row["gate"]), row["bytes"]))
    return {
        "benchmark_name": "tradeoff",
        **{key: first.get(key) for key in SHARED},
        "names": names_of(records),
        "place": cells.place,
        "timed": "decode" if cells.stepped else "generation",
        "axes": axes,
        "gates": asked(gates) if gates else "",
        "ran_otherwise": _ran_otherwise(cells),
        "rows": rows,
    }


def _rank(gate: str) -> int:
    """The place of a gate's word: what passes, what was not judged, what did not pass."""
    best = [PASS, "", INCONCLUSIVE, NOT_SENSITIVE, FAIL]
    return best.index(gate.partition(" by ")[0])


def table(records: Sequence[Record]) -> Table:
    """What each version of a preset costs in bytes, time and quality, the unbeaten ones first."""
    record = judge(records)
    cells = [record for record in records if "cache" in record]
    title = f"Bytes, time and quality of {record['pretrained']}"
    shown = [_shown(row, record) for row in record["rows"]]
    return Table(title, record["rows"], notes(record), cells, record, shown)


def _ran_otherwise(cells: Joined) -> list[str]:
    """The versions whose time is not of the cache alone, since v1 ran otherwise."""
    timed = cells.stepped or cells.timed
    first = next((cell for cell in timed if cell["version"] == REFERENCE), None)
    return [
        cell["version"]
        for cell in timed
        if first is not None and cell["use_cache"] and implementations(cell, first)
    ]


def words(row: Row, name: str) -> str | None:
    """One axis of a row in words; None where it was not measured."""
    if row[name] is None:
        return None
    if name == "bytes":
        return size(1e3 * row[name])
    change = name == "quality"
    if change and row[name] >= 100 * (MULTIPLIED - 1):
        ends = (row[f"{name}_{end}"] for end in ("low", "high"))
        low, high = (None if end is None else 1 + end / 100 for end in ends)
        return f"x {spoken(1 + row[name] / 100, low, high, apart_from=1)}"
    text = spoken(
        row[name], row[f"{name}_low"], row[f"{name}_high"], change, 0.0 if change else None
    )
    return f"{text} {'%' if change else 'ms'}"


def _shown(row: Row, record: Record) -> Row:
    time = "decode step" if record["timed"] == "decode" else "per token"
    return {
        "version": row["version"],
        "by others": {True: UNBEATEN, False: "beaten", None: "-"}[row[UNBEATEN]],
        "gate": row["gate"].partition(" by ")[0],
        "cache/token": words(row, "bytes"),
        "perplexity": words(row, "quality"),
        time: words(row, "time"),
        "prefill": words(row, "prefill"),
    }


def notes(record: Record) -> list[str]:
    """What a reader must know beside the rows."""
    said = [
        f"{UNBEATEN}: no other version is as good in all of {', '.join(record['axes'])} and better "
        "in one beyond both intervals; such versions stand first, those that pass the gates before "
        "others. perplexity: change against v1."
    ]
    if record["place"]:
        said.append(f"Time at {record['place']}; prefill is that of the generations.")
    lacking = [name for name in AXES if name not in record["axes"]]
    if lacking:
        said.append(f"Not measured of this preset: {', '.join(lacking)}.")
    if unlike := ", ".join(record["names"].get(v, v) for v in record.get("ran_otherwise", [])):
        said.append(f"Ran otherwise than v1, so that their time is not of the cache: {unlike}.")
    return [*said, f"Gates: {record['gates']}."] if record["gates"] else said
