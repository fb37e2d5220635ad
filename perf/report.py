"""`speed.json`: one row a target, in the table's order; a row measured anew replaces the old."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kvbench.files import write_text
from perf.targets import AT_LEAST, EXACTLY, TARGETS

Row = dict[str, Any]
KEYS = ("target", "bound", "measured", "low", "high", "passed", "machine")  # of every row
HEAD = f"{'row':20} {'measured':>9} {'95 % interval':>17} {'target':>15} {'bound':>6}  verdict"


class RowsError(ValueError):
    """A file that holds no rows, in one line."""


def read(path: str | Path) -> list[Row]:
    """The rows of a file; none where there is no file. Raises RowsError."""
    if not Path(path).exists():
        return []
    try:
        rows = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise RowsError(f"{path} is not JSON ({error}); delete it and run again") from None
    if not isinstance(rows, list) or any(not set(KEYS) <= set(row) for row in rows):
        raise RowsError(
            f"{path} is not a list of rows with {', '.join(KEYS)}; delete it and run again"
        )
    return rows


def processor(row: Row) -> tuple[str, ...]:
    """What makes numbers of two rows comparable: the GPU, or the CPU and the vectors it has."""
    machine = row["machine"]
    if machine["device_name"] != machine["cpu_name"]:
        return (machine["device_name"],)
    return (machine["cpu_name"], machine["cpu_capability"])


def before(row: Row, paths: Iterable[str | Path]) -> Row | None:
    """The same row as last measured on the same processor: in the first of the files to have it."""
    for path in paths:
        for old in read(path):
            same = old["row"] == row["row"] and processor(old) == processor(row)
            if same and old["measured"] is not None:
                kept = {key: old[key] for key in ("measured", "low", "high")}
                return kept | {"commit": old["machine"].get("commit")}
    return None


def change(row: Row) -> str:
    """How a row compares with the last one of its processor, in words; nothing without one."""
    if not (old := row.get("before")):
        return ""
    word = "as before"
    if None not in (old["low"], row["low"]) and row["sense"] != EXACTLY:
        up, down = row["low"] > old["high"], row["high"] < old["low"]
        if up or down:
            word = "better than" if up == (row["sense"] == AT_LEAST) else "worse than"
    return f"; {word} {old['measured']:.3f}" if word != "as before" else f"; {word}"


def merge(path: str | Path, row: Row) -> None:
    """Put one row into the file, atomically; rows of targets that are no more go."""
    rows = {old["row"]: old for old in read(path)} | {row["row"]: row}
    lines = [json.dumps(rows[name], allow_nan=False) for name in TARGETS if name in rows]
    write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")  # a row a line, for a diff to read


def line(row: Row) -> str:
    """One row as people read it."""
    target = "" if row["target"] is None else f"{row['sense']} {row['target']:.3g}"
    if row["measured"] is None:
        return (
            f"{row['row']:20} {'-':>9} {'':17} {target:>15} {'':6}  not measured: {row['reason']}"
        )
    span = "" if row["low"] is None else f"{row['low']:.3f} - {row['high']:.3f}"
    bound = "" if row["bound"] is None else f"{row['bound']:.2f}"
    at = f" ({row['at']})" if row["at"] else ""
    measured = f"{row['measured']:.3f} {row['unit']}"
    word = f"{row['verdict'] or ''}{at}{change(row)}"
    return f"{row['row']:20} {measured:>9} {span:>17} {target:>15} {bound:>6}  {word}"


def markdown(rows: list[Row]) -> str:
    """The rows as a table for a page; what could not be measured says why."""
    head = ("`ROWS=`", "what", "target", "measured", "95 % interval", "bound", "verdict")
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        target = (
            "" if row["target"] is None else f"{row['sense']} {row['target']:.3g} {row['unit']}"
        )
        if row.get("share"):
            target = f"{target}, {row['share']:g} of the bound"
        cells = [f"`{row['row']}`", row["what"], target]
        if row["measured"] is None:
            cells += ["not measured", "", _number(row["bound"]), row["reason"]]
        else:
            span = "" if row["low"] is None else f"{_number(row['low'])} - {_number(row['high'])}"
            at = f", at {row['at']}" if row["at"] else ""
            word = f"{row['verdict'] or 'none'}{at}"
            cells += [
                f"{_number(row['measured'])} {row['unit']}",
                span,
                _number(row["bound"]),
                word,
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
