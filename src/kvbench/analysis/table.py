"""What an analysis hands to the report: rows, notes on them, and the record behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvbench.records.record import Record, Row


@dataclass(frozen=True)
class Table:
    """One table. The report adds a footer on the machine and settings of `cells`."""

    title: str
    rows: list[Row]
    notes: list[str]
    cells: Sequence[Record] = ()
    record: Record | None = None  # written beside the table, where something reads it again
    shown: list[Row] | None = None  # other columns than the CSV's, for Markdown
