"""`speed.json`: one row a target, in the table's order; a row measured anew replaces the old."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kvbench.speed.targets import TARGETS
from kvbench.store import write_text

Row = dict[str, Any]
KEYS = ("target", "bound", "measured", "low", "high", "passed", "machine")  # of every row
HEAD = f"{'row':20} {'measured':>9} {'95 % interval':>17} {'target':>15} {'bound':>6}  verdict"


class NotRows(ValueError):
    """A file that holds no rows, in one line."""


def read(path: str | Path) -> list[Row]:
    """The rows of a file; none where there is no file. Raises NotRows."""
    if not Path(path).exists():
        return []
    try:
        rows = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise NotRows(f"{path} is not JSON ({error}); delete it and run again") from None
    if not isinstance(rows, list) or any(not set(KEYS) <= set(row) for row in rows):
        raise NotRows(
            f"{path} is not a list of rows with {', '.join(KEYS)}; delete it and run again"
        )
    return rows


def merge(path: str | Path, row: Row) -> None:
    """Put one row into the file, atomically; rows of targets that are no more go."""
    rows = {old["row"]: old for old in read(path)} | {row["row"]: row}
    ordered = [rows[name] for name in TARGETS if name in rows]
    write_text(path, json.dumps(ordered, indent=1, allow_nan=False) + "\n")


def line(row: Row) -> str:
    """One row as people read it."""
    target = "" if row["target"] is None else f"{row['sense']} {row['target']:g}"
    if row["measured"] is None:
        return (
            f"{row['row']:20} {'-':>9} {'':17} {target:>15} {'':6}  not measured: {row['reason']}"
        )
    span = "" if row["low"] is None else f"{row['low']:.3f} - {row['high']:.3f}"
    bound = "" if row["bound"] is None else f"{row['bound']:.2f}"
    at = f" ({row['at']})" if row["at"] else ""
    measured = f"{row['measured']:.3f} {row['unit']}"
    word = f"{row['verdict'] or ''}{at}"
    return f"{row['row']:20} {measured:>9} {span:>17} {target:>15} {bound:>6}  {word}"
