"""A table as Markdown that fits a terminal: intervals in one column, and no column twice the same.

What the columns hold for every row is said once above them, long remarks are numbered below, and
what still does not fit is named: the CSV beside it has every column. One wide row stands upright.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvbench.records.record import Row
from kvbench.stats.digits import short, size, spoken

WIDTH = 100  # characters of a line
LONG = 26  # characters of a text from which it stands below the table
BYTES = ("_bytes", "_bytes_of_one_more", "_bytes_per_sequence")
COUNTED = "cache_bytes_per_token"  # bytes that are compared to the digit
SUBJECTS = ("version", "runner", "control")  # whom a row is about
HEADERS = {"batch_size": "batch"}
RATIOS = ("speedup",)  # compared with 1: their ends never read 1 where they are not
MISSING = "-"


def readable(rows: Sequence[Row]) -> tuple[str, list[str]]:
    """The table of the rows' values, and the notes that it needs. Values may be words already."""
    columns = {HEADERS.get(name, name): _texts(name, rows) for name in _names(rows)}
    columns = {name: texts for name, texts in columns.items() if set(texts) != {MISSING}}
    same = [] if len(rows) < 2 else [n for n, texts in columns.items() if len(set(texts)) == 1]
    same = [name for name in same if name not in SUBJECTS]
    notes = [f"Every row: {', '.join(f'{n} {columns.pop(n)[0]}' for n in same)}."] if same else []
    left = _beyond(_numbered(columns)[0])
    if left and len(rows) == 1:
        upright = {"column": list(columns), "value": [texts[0] for texts in columns.values()]}
        return _lines(upright), notes
    if left:
        notes.append(f"Further columns are in the CSV: {', '.join(left)}.")
    shown, below = _numbered({n: texts for n, texts in columns.items() if n not in left})
    return _lines(shown), notes + below


def _names(rows: Sequence[Row]) -> list[str]:
    """Columns in the order that rows name them; the ends of an interval stand with its value."""
    every = list(dict.fromkeys(name for row in rows for name in row))
    ends = {f"{name}_{end}" for name in every for end in ("low", "high")}
    return [name for name in every if name not in ends]


def _texts(name: str, rows: Sequence[Row]) -> list[str]:
    return [_text(name, row) or MISSING for row in rows]


def _text(name: str, row: Row) -> str:
    """One value in words; nothing where it is missing."""
    value = row.get(name)
    if value is None or value == "" or value != value:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith(BYTES) and name != COUNTED:
        return size(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if f"{name}_low" in row:
        reference = 1 if name in RATIOS else None
        return spoken(value, row[f"{name}_low"], row.get(f"{name}_high"), apart_from=reference)
    return short(float(value))


def _numbered(columns: dict[str, list[str]]) -> tuple[dict[str, list[str]], list[str]]:
    """The columns with a number in place of each long text, and the texts by their numbers."""
    long = dict.fromkeys(
        text
        for texts in columns.values()
        for text in texts
        if len(text) > LONG and " " in text and not _numeric(text)
    )
    numbers = {text: n for n, text in enumerate(long, start=1)}
    shown = {
        name: [f"({numbers[text]})" if text in numbers else text for text in texts]
        for name, texts in columns.items()
    }
    return shown, [f"({n}) {text}" for text, n in numbers.items()]


def _beyond(columns: dict[str, list[str]]) -> list[str]:
    """The names of the last columns, from the first that a line has no room for."""
    width = 1
    for place, (name, texts) in enumerate(columns.items()):
        width += 3 + _width(name, texts)
        if width > WIDTH:
            return list(columns)[place:]
    return []


def _lines(columns: dict[str, list[str]]) -> str:
    """The table, every column as wide as its widest text and numbers on its right."""
    drawn = []
    for name, texts in columns.items():
        width, numbers = _width(name, texts), all(map(_numeric, texts))
        rule = "-" * (width - 1) + (":" if numbers else "-")
        cells = [text.rjust(width) if numbers else text.ljust(width) for text in (name, *texts)]
        drawn.append([cells[0], rule, *cells[1:]])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*drawn, strict=True))


def _width(name: str, texts: Sequence[str]) -> int:
    return max(3, len(name), *map(len, texts))  # three for the dashes under the name


def _numeric(text: str) -> bool:
    return text == MISSING or text.lstrip("+->= ")[:1].isdigit()
