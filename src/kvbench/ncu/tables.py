"""The rows of the tables in an export, whatever stands before, between and after them."""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator

from kvbench.ncu.errors import NcuError
from kvbench.ncu.remarks import Remarks

# Mangled C++ names and per-instance values run to hundreds of kilobytes; the default is 128 KiB.
csv.field_size_limit(1 << 28)

_NAMES = ("Kernel Name", "Function Name", "Demangled Name")  # the command line; the GUI's export
_UNIT = re.compile(r"(.*\S)\s+\[(.*)\]")  # "dram__bytes.sum [Mbyte]": the GUI puts it in the header
_WHOLE = re.compile(r"\d+(\.0)?")  # an ID; pandas turns the column into floats when it saves
_JOINED_LINES = 64  # the most lines one quoted field (a rule's text) may spread over


def split(line: str) -> list[str]:
    """The fields of one CSV line."""
    return next(csv.reader((line,), skipinitialspace=True), [])


class Layout:
    """A header line: where each column is, by name, since columns move between versions."""

    def __init__(self, fields: list[str], quoted: bool):
        units = [_UNIT.fullmatch(f) for f in fields]
        in_header = any(m and "__" in m[1] for m in units)
        self.units = [m[2] if m else "" for m in units] if in_header else None
        self.fields = [m[1] if m else f for m, f in zip(units, fields, strict=True)]
        self.width = len(fields)
        self.quoted = quoted
        self.at: dict[str, int] = {}
        for i, name in enumerate(self.fields):
            self.at.setdefault(name, i)
        self.kind = "wide"  # one row per launch, one column per metric; units in the second row
        if "Metric Name" in self.at:  # one row per launch (or group of launches) and metric
            self.kind = "long" if "Metric Value" in self.at else "summary"
        self.value = self.at.get("Metric Value", self.at.get("Average", -1))
        self.name = next(self.at[n] for n in _NAMES if n in self.at)
        self.keys = [self.at[c] for c in ("ID", "Process ID") if c in self.at]
        self._least = max([*self.keys, self.name])

    def is_row(self, fields: list[str]) -> bool:
        """Whether these fields are a row of this table rather than program output with commas."""
        if not self.quoted and len(fields) != self.width:
            return False
        if len(fields) <= self._least:
            return False
        for k in self.keys:  # a loop, as this is asked of every line
            if not fields[k].isdigit() and not _WHOLE.fullmatch(fields[k]):
                return False
        return True

    def may_begin(self, fields: list[str]) -> bool:
        """Whether these may be the first fields of a row that was cut short, in the last one."""
        last = len(fields) - 1
        return all(_WHOLE.fullmatch(fields[k]) for k in self.keys if k < last) and (
            last not in self.keys or re.fullmatch(r"\d*\s*", fields[last]) is not None
        )

    def is_units(self, fields: list[str]) -> bool:
        """Whether these fields are the units below a raw page's header: they name no launch."""
        if self.kind != "wide" or self.units or len(fields) <= self._least:
            return False
        return not any(fields[k] for k in (*self.keys, self.name))

    def is_rule(self, fields: list[str]) -> bool:
        """Whether these fields are advice of a rule, which has no metric name."""
        return self.kind != "wide" and not fields[self.at["Metric Name"]]


def header(line: str) -> Layout | None:
    """The layout when this line is a table header, else None.

    Raises NcuError for a table of launches whose rows name no launch.
    """
    anonymous = False
    for text in (line, line[max(line.find('"'), 0) :]):  # unfinished output may stand before it
        fields = [f.strip() for f in split(text)]
        have = set(fields)
        if have.isdisjoint(_NAMES):
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

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else next(self._rest)
        self.number += 1
        return line

    def peek(self, n: int) -> str | None:
        """The line n after the current one, None past the end."""
        while len(self._ahead) <= n:
            line = next(self._rest, None)
            if line is None:
                return None
            self._ahead.append(line)
        return self._ahead[n]


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
            for _ in range(n + 1):
                next(lines)
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
    closed = line.count('"') % 2 == 0
    if not closed:
        line = _close(line, lines, layout)
        closed = line.count('"') % 2 == 0
    return split(line), closed


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
        if " Name" in line and (found := header(line)):
            layout = found
            remarks.header = True
            continue
        ncu_says = line.startswith("==") and '","' not in line
        if layout is None or ncu_says or line.isspace() or not line:
            remarks.read(line)
            continue
        fields, closed = _row(line, numbered, layout)
        ended = line.endswith("\n")
        if not closed or not layout.is_row(fields):
            begun = fields and layout.may_begin(fields)
            if layout.is_units(fields):
                layout.units = fields + [""] * (layout.width - len(fields))
            elif begun and not ended:
                raise NcuError(f"line {number}: the file ends inside a row; export it again")
            elif begun and not closed and len(fields) > 1:
                raise NcuError(f"line {number}: a row is cut short; export the report again")
            else:
                remarks.read(line)
            continue
        if any(fields[layout.width :]) and not layout.is_rule(fields):
            raise NcuError(f"line {number}: the row has more fields than its header")
        if not ended:
            whole = layout.width if layout.kind == "wide" else layout.value + 1
            if len(fields) < whole or not layout.quoted:
                raise NcuError(f"line {number}: the file ends inside a row; export it again")
            remarks.unterminated = True
        yield layout, fields + [""] * (layout.width - len(fields)), number
