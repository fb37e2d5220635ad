"""The rows of the tables in an export, whatever stands before, between and after them."""

import re
from collections import deque
from collections.abc import Iterable, Iterator

from kvbench.ncu.errors import NcuError
from kvbench.ncu.layout import Layout, header, split
from kvbench.ncu.remarks import Remarks

_JOINED_LINES = 64  # the most lines one quoted field (a rule's text) may spread over


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
        if more.count('"') % 2 and split(joined):
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
            elif layout.is_damaged(line, fields):
                raise NcuError(f"line {number}: a row is damaged; export the report again")
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
