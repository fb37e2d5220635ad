"""Reads an export into tables of launches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kvbench.ncu.errors import NcuError
from kvbench.ncu.layout import Layout
from kvbench.ncu.metrics import DURATION, dimension
from kvbench.ncu.remarks import Remarks
from kvbench.ncu.store import Table
from kvbench.ncu.tables import table_rows
from kvbench.ncu.text import Text
from kvbench.ncu.values import TIME, is_missing, whole

_GPU_NAME = "device__attribute_display_name"
_DEVICE = "Device"  # the column with a device's number
# A summary has a row per metric of each group of launches; these columns are about the metric.
_OF_METRIC = ("Section", "Metric", "Minimum", "Maximum", "Average", "Invocations", "Rule", "Est")
# Facts of device and launch: some are versions, whose dots say nothing about the locale.
_NO_HINT = ("device__attribute", "launch__", "profiler__")


@dataclass
class Profile:
    """All tables of one file and what stands around them."""

    tables: list[Table] = field(default_factory=list)
    layouts: list[Layout] = field(default_factory=list)
    remarks: Remarks = field(default_factory=Remarks)
    gpus: set[str] = field(default_factory=set)
    devices: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)  # of all metrics, read or not
    sha256: str = ""

    def locales(self) -> Iterator[tuple[Table, str, bool]]:
        """(table, "english" or "european", whether grouping alone decided).

        A table whose own numbers do not decide follows the others. Raises NcuError when there
        is a value to decide on and nothing in the file does.
        """
        own = [table.evidence.locale() for table in self.tables]
        known = {locale for locale in own if locale}
        shared = known.pop() if len(known) == 1 else None
        for table, locale in zip(self.tables, own, strict=True):
            column = table.doubt()
            if table.odd and (locale or shared) != "european":
                raise _ambiguous(*table.odd)
            if locale or shared or column is None or column.doubt is None:
                yield table, locale or shared or "english", False
            elif column.doubt_is_grouping:
                yield table, "english", True
            else:
                raise _ambiguous(*column.doubt)


def _ambiguous(text: str, line: int) -> NcuError:
    return NcuError(
        f'line {line}: ambiguous number "{text}": English or European, and nothing '
        "in the file decides; export the report again with LC_ALL=C"
    )


def _launch(layout: Layout, table: Table) -> Callable[[list[str], int], int]:
    """How to find the launch that a row of this layout is about."""
    at = layout.at
    process, name = at.get("Process ID"), layout.name
    group = [i for i, column in enumerate(layout.fields) if not column.startswith(_OF_METRIC)]

    def of_launch(row: list[str], line: int) -> int:
        owner = row[process] if process is not None else ""
        return table.launch(owner, whole(row[at["ID"]]), row[name], 1, line)

    def of_group(row: list[str], line: int) -> int:
        owner = row[process] if process is not None else ""
        count = whole(row[at["Invocations"]])
        if not count:
            raise NcuError(f'line {line}: Invocations is "{row[at["Invocations"]]}"')
        return table.launch(owner, tuple(row[i] for i in group), row[name], count, line)

    return of_group if layout.kind == "summary" else of_launch


def _wide(layout: Layout, table: Table, profile: Profile) -> Callable[[list[str], int], None]:
    """Takes the rows of a raw page: a launch each, its counters in columns."""
    launch = _launch(layout, table)
    columns = list(enumerate(layout.fields))
    needed = [(i, metric, dim) for i, metric in columns if (dim := dimension(metric))]
    hints = [
        i
        for i, metric in columns
        if "__" in metric and not dimension(metric) and not metric.startswith(_NO_HINT)
    ]
    names = [layout.at[c] for c in (_GPU_NAME, "Device Name") if c in layout.at]
    device = layout.at.get(_DEVICE)
    profile.names.update(layout.fields)

    def take(row: list[str], line: int) -> None:
        index = launch(row, line)
        units = layout.units or [""] * layout.width
        for i, metric, dim in needed:
            table.put(index, metric, dim, row[i], units[i], line)
        for i in hints if not table.evidence.hint else ():
            table.evidence.take_hint(row[i])
        profile.gpus.update(row[i] for i in names if not is_missing(row[i]))
        profile.devices.update([row[device]] if device is not None else [])

    return take


def _long(layout: Layout, table: Table, profile: Profile) -> Callable[[list[str], int], None]:
    """Takes the rows of a details page or a summary: a launch (or group) and a metric each."""
    launch = _launch(layout, table)
    at = layout.at
    name, unit, section = at["Metric Name"], at.get("Metric Unit"), at.get("Section Name")
    device, number = at.get("Device Name"), at.get(_DEVICE)

    def take(row: list[str], line: int) -> None:
        index = launch(row, line)
        if device is not None and not is_missing(row[device]):
            profile.gpus.add(row[device])
        profile.devices.update([row[number]] if number is not None else [])
        profile.names.add(row[name].strip())
        metric, text = row[name].strip(), row[layout.value]
        dim = dimension(metric)
        if metric == DURATION and section is not None:
            # Other sections have durations of their own, of sampling for one.
            dim = TIME if row[section].startswith("GPU Speed Of Light") else None
        if dim:
            table.put(index, metric, dim, text, row[unit] if unit is not None else "", line)
        elif metric == _GPU_NAME:
            profile.gpus.update([] if is_missing(text) else [text])
        elif metric and not table.evidence.hint and not metric.startswith(_NO_HINT):
            table.evidence.take_hint(text)  # a rule's row has no metric name and no value

    return take


def read(path: str | Path, progress: bool = False) -> Profile:
    """Read every table of an export; `progress` reports on stderr when the file is big.

    Raises NcuError for a broken export and OSError when there is no such file.
    """
    text = Text(path, progress)
    profile = Profile()
    for layout, row, line in table_rows(text, profile.remarks):
        if not profile.layouts or layout is not profile.layouts[-1]:
            profile.layouts.append(layout)
            profile.tables.append(Table())
            rows = _wide if layout.kind == "wide" else _long
            take = rows(layout, profile.tables[-1], profile)
        take(row, line)
    for table in profile.tables:
        for column in table.columns.values():
            column.pad(len(table))
    profile.sha256 = text.sha256
    return profile
