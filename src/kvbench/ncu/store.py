"""The counters of one table, launch by launch, in arrays: exports have millions of rows."""

import math
from array import array
from collections.abc import Iterator
from itertools import repeat

from kvbench.ncu.errors import NcuError
from kvbench.ncu.values import BYTES, COUNT, FALLBACKS, Evidence, is_missing, readings, scale


class Column:
    """One counter over the launches of a table, read both ways until the locale is known."""

    def __init__(self) -> None:
        self.english = array("d")
        self.european = array("d")
        self.doubt: tuple[str, int] | None = None  # first value that reads two ways, and its line
        self.doubt_is_grouping = True  # all such are whole numbers with a comma

    def pad(self, launches: int) -> None:
        """Give every launch a value, NaN where the file has none."""
        gap = launches - len(self.english)
        self.english.extend(repeat(math.nan, gap))
        self.european.extend(repeat(math.nan, gap))

    def put(self, launch: int, english: float, european: float) -> bool:
        """Set the value of a launch; False when another one is there already."""
        if launch == len(self.english):
            self.english.append(english)
            self.european.append(european)
            return True
        self.pad(launch + 1)
        old = self.english[launch], self.european[launch]
        if all(math.isnan(v) for v in old):
            self.english[launch], self.european[launch] = english, european
            return True
        # The same value may stand twice, even in two units.
        return any(math.isclose(a, b) for a, b in zip(old, (english, european), strict=True))


class Table:
    """The launches under one header, distinguished by process and ID, and their counters."""

    def __init__(self) -> None:
        self.columns: dict[str, Column] = {}
        self.kernels: list[str] = []
        self.kernel = array("l")  # per launch, index into kernels
        self.invocations = array("l")  # 1 per launch; more for a row of --print-summary
        self.evidence = Evidence()
        self.odd: tuple[str, int] | None = None  # "1,23" of something that comes whole
        self.scaled = False  # some counter was printed in a scaled, so rounded, unit
        self._launches: dict[str, dict[object, int]] = {}  # process -> key -> index
        self._kernels: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.kernel)

    def launch(self, process: str, key: object, kernel: str, invocations: int, line: int) -> int:
        """The index of a launch, new or known. Raises NcuError when it has changed since."""
        n = len(self.kernel)
        index = self._launches.setdefault(process, {}).setdefault(key, n)
        name = self._kernels.setdefault(kernel, len(self.kernels))
        if name == len(self.kernels):
            self.kernels.append(kernel)
        if index == n:
            self.kernel.append(name)
            self.invocations.append(invocations)
        elif self.kernel[index] != name:
            raise NcuError(f"line {line}: launch {key} of process {process} has two kernel names")
        elif self.invocations[index] != invocations:
            raise NcuError(f"line {line}: the rows of one kernel differ in Invocations")
        return index

    def put(self, launch: int, metric: str, dim: str, text: str, unit: str, line: int) -> None:
        """Take one value of a counter; of a summary, its average over the invocations.

        Raises NcuError for no number, an unknown unit, or a second, unequal value.
        """
        values = readings(text)
        if values is None:
            if is_missing(text):
                return
            raise NcuError(f'line {line}: {metric} is "{text}", which is no number')
        try:
            factor = scale(dim, unit)
        except NcuError as error:
            if dim in FALLBACKS:  # for a fallback that may never be asked for
                return
            raise NcuError(f"line {line}: {metric}: {error}") from None
        times = self.invocations[launch]
        english, european = values
        self.scaled |= factor != 1 and dim not in FALLBACKS
        column = self.columns.get(metric)
        if column is None:
            column = self.columns[metric] = Column()
        if english == european:
            pass  # the same in any locale
        elif english != english and european % 1 and self._is_whole(dim, factor, times):
            self.odd = self.odd or (text, line)
        elif english != english or european != european:
            self.evidence.take(text, english, european)
        else:
            column.doubt = column.doubt or (text, line)
            # Nothing has a fraction of a byte or an instruction, so "1,234" of these is grouped.
            # A point decides nothing: a program that saved the table again may have put it there.
            column.doubt_is_grouping &= factor == 1 and times == 1 and "," in text
        if not column.put(launch, english * factor * times, european * factor * times):
            raise NcuError(f"line {line}: {metric} had another value before for the same launch")

    @staticmethod
    def _is_whole(dim: str, factor: float, times: int) -> bool:
        """Whether a value has no fraction: bytes, instructions, neither scaled nor averaged."""
        return dim in (BYTES, COUNT) and factor == times == 1

    def each(self) -> Iterator[tuple[str, object, int]]:
        """(process, key, index) of every launch."""
        for process, launches in self._launches.items():
            for key, index in launches.items():
                yield process, key, index

    def repeats(self, other: "Table") -> bool:
        """Whether the first launch here is one of the other table's as well."""
        process, key, index = next(self.each())
        there = other._launches.get(process, {}).get(key)
        return there is not None and other.kernels[other.kernel[there]] == self.kernels[0]

    def doubt(self) -> Column | None:
        """A column whose values depend on the locale, the least certain one first."""
        timed = "gpu__time_duration.sum" in self.columns
        columns = [
            column
            for metric, column in self.columns.items()
            if column.doubt and not (timed and metric.startswith(("sm__cycles", "smsp__cycles")))
        ]
        return min(columns, key=lambda c: c.doubt_is_grouping, default=None)
