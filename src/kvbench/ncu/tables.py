"""The rows of the tables in an export, whatever stands before, between and after them."""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator

from kvbench.ncu.errors import NcuError
from kvbench.ncu.remarks import Remarks

# Mangled C++ names and per-instance values run to hundreds of kilobytes; the default is 128 KiB.
csv.field_size_limit(1 << 28)

_WHOLE = re.compile(r"\d+(\.0)?")  # an ID; pandas turns the column into floats when it saves
_JOINED_LINES = 64  # the most lines one quoted field (a rule's text) may spread over


def split(line: str) -> list[str]:
    """The fields of one CSV line."""
    return next(csv.reader((line,), skipinitialspace=True), [])


class Layout:
    """A header line: where each column is, by name, since columns move between versions."""

    def __init__(self, fields: list[str], quoted: bool):
        self.fields = fields
        self.width = len(fields)
        self.quoted = quoted
        self.at: dict[str, int] = {}
        for i, name in enumerate(fields):
            self.at.setdefault(name, i)
        self.kind = "wide"  # one row per launch, one column per metric; units in the second row
        if "Metric Name" in self.at:  # one row per launch (or group of launches) and metric
            self.kind = "long" if "Metric Value" in self.at else "summary"
        self.value = self.at.get("Metric Value", self.at.get("Average", -1))
        self.keys = [self.at[c] for c in ("ID", "Process ID") if c in self.at]
        self.units: list[str] | None = None

    def is_row(self, fields: list[str]) -> bool:
        """Whether these fields are a row of this table rather than program output with commas."""
        if not self.quoted and len(fields) != self.width:
            return False
        if len(fields) <= max(self.keys, default=self.value):
            return False
        return all(_WHOLE.fullmatch(fields[k]) for k in self.keys)

    def may_begin(self, fields: list[str], closed: bool) -> bool:
        """Whether these fields may be the beginning of a row that was cut short."""
        last = len(fields) - (not closed)  # of an open field only a part is there
        cut = not closed and last in self.keys
        return all(_WHOLE.fullmatch(fields[k]) for k in self.keys if k < last) and (
            not cut or re.fullmatch(r"\d*\s*", fields[last]) is not None
        )

    def is_units(self, fields: list[str]) -> bool:
        named = [self.at["ID"], self.at["Kernel Name"]]
        return len(fields) > max(named) and not any(fields[k] for k in named)


def header(line: str) -> Layout | None:
    """The layout when this line is a table header, else None.

    Raises NcuError for a table of launches whose rows name no launch.
    """
    anonymous = False
    for text in (line, line[max(line.find('"'), 0) :]):  # unfinished output may stand before it
        fields = [f.strip() for f in split(text)]
        have = set(fields)
        if "Kernel Name" not in have:
            continue
        launches = "ID" in have and ("Metric Value" in have or any("__" in f for f in fields))
        if launches or {"Metric Name", "Invocations", "Average"} <= have:
            return Layout(fields, quoted=text[0] == '"')
        anonymous |= {"Metric Name", "Metric Value"} <= have
    if anonymous:
        raise NcuError("the table has no ID column: its launches cannot be told apart")
    return None


class _Lines:
    """Numbered lines that can be looked at before they are taken."""

    def __init__(self, lines: Iterable[str]):
        self._rest = iter(lines)
        self._ahead: deque[str] = deque()
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        while (line := self.peek(0)) is not None:
            self.take(1)
            yield line

    def peek(self, n: int) -> str | None:
        while len(self._ahead) <= n:
            line = next(self._rest, None)
            if line is None:
                return None
            self._ahead.append(line)
        return self._ahead[n]

    def take(self, n: int) -> None:
        for _ in range(n):
            self._ahead.popleft()
        self.number += n


def _close(line: str, lines: _Lines, layout: Layout) -> str:
    """A line with an open quote, joined with the following ones up to the closing quote.

    Stops at anything that is a line of its own right: then the row was cut, and stays open.
    """
    joined = line
    for n in range(_JOINED_LINES):
        more = lines.peek(n)
        if more is None or more.startswith("==") or layout.is_row(split(more)):
            break
        joined += more
        if more.count('"') % 2:
            lines.take(n + 1)
            return joined
    return line


def _row(line: str, lines: _Lines, layout: Layout) -> tuple[list[str], bool]:
    """The fields of a line and whether every quote is closed."""
    if layout.quoted and line[0] != '"':
        # A program's unfinished line of output may stand before a row.
        starts = [m.start() for m in re.finditer('"', line)][:16] if '","' in line else []
        for start in starts:
            fields = split(line[start:])
            if layout.is_row(fields) and len(fields) > layout.value:
                return fields, True
        return [], True
    if line.count('"') % 2:
        line = _close(line, lines, layout)
    return split(line), line.count('"') % 2 == 0


def table_rows(lines: Iterable[str], remarks: Remarks) -> Iterator[tuple[Layout, list[str], int]]:
    """(layout, fields padded to the header, line number) for each row of each table.

    A new Layout object starts a new table. All other lines go to `remarks`. Raises NcuError
    for a row that is cut short or has more fields than its header.
    """
    layout = None
    numbered = _Lines(lines)
    for line in numbered:
        number = numbered.number
        line = line.removeprefix("\ufeff")  # the mark of a second file appended to the first
        if "Kernel Name" in line and (found := header(line)):
            layout = found
            continue
        ncu_says = line.startswith("==") and '","' not in line
        if layout is None or ncu_says or line.isspace() or not line:
            remarks.read(line)
            continue
        fields, closed = _row(line, numbered, layout)
        ended = line.endswith("\n")
        if not closed or not layout.is_row(fields):
            begun = fields and layout.may_begin(fields, closed)
            if layout.kind == "wide" and layout.units is None and layout.is_units(fields):
                layout.units = fields + [""] * (layout.width - len(fields))
            elif begun and not ended:
                raise NcuError(f"line {number}: the file ends inside a row; export it again")
            elif begun and not closed and len(fields) > 1:
                raise NcuError(f"line {number}: a row is cut short; export the report again")
            else:
                remarks.read(line)
            continue
        if any(fields[layout.width :]):
            raise NcuError(f"line {number}: the row has more fields than its header")
        if not ended:
            whole = layout.width if layout.kind == "wide" else layout.value + 1
            if len(fields) < whole or not layout.quoted:
                raise NcuError(f"line {number}: the file ends inside a row; export it again")
            remarks.unterminated = True
        yield layout, fields + [""] * (layout.width - len(fields)), number
