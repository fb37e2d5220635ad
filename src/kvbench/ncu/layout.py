"""The header of a table in an export, and which lines are its rows."""

import csv
import re

from kvbench.ncu.errors import NcuError
from kvbench.ncu.values import whole

# Mangled C++ names and per-instance values run to hundreds of kilobytes; the default is 128 KiB.
csv.field_size_limit(1 << 28)

_NAMES = ("Kernel Name", "Function Name", "Demangled Name")  # the command line; the GUI's export
_UNIT = re.compile(r"(.*\S)\s+\[(.*)\]")  # "dram__bytes.sum [Mbyte]": the GUI puts it in the header


def split(line: str) -> list[str]:
    """The fields of one CSV line; none when its quotes make no sense."""
    try:
        return next(csv.reader((line,), skipinitialspace=True), [])
    except csv.Error:
        return []


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
        return all(whole(fields[k]) is not None for k in self.keys)

    def may_begin(self, fields: list[str]) -> bool:
        """Whether these may be the first fields of a row that was cut short, in the last one."""
        last = len(fields) - 1
        return all(whole(fields[k]) is not None for k in self.keys if k < last) and (
            last not in self.keys or re.fullmatch(r"\d*\s*", fields[last]) is not None
        )

    def is_damaged(self, line: str, fields: list[str]) -> bool:
        """Whether a line that is no row was one: too many fields for a program's output.

        Without quotes a kernel name's commas, or a lost value, shift the rest of the row.
        """
        found = line.count('","') + 1 if self.quoted else len(fields)
        if found <= max(self._least, self.width // 2):
            return False
        named = [fields[i].strip() for i in (*self.keys, self.name) if i < len(fields)]
        return any(named) or not fields  # a repeated row of units names nothing

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
        if "Metric Name" not in have:
            known = "ID" in have and any("__" in f for f in fields)
        elif "Metric Value" in have:
            known = "ID" in have
            anonymous |= not known
        else:
            known = {"Invocations", "Average"} <= have
        if known:
            return Layout(fields, quoted=text[0] == '"')
    if anonymous:
        raise NcuError("the table has no ID column: its launches cannot be distinguished")
    return None
