"""What gates say to people: a table of them, and their words beside a version's other answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kvbench.analysis.gates import (
    FAIL,
    GATES,
    INCONCLUSIVE,
    LEVEL,
    NOT_SENSITIVE,
    PASS,
    REFERENCE,
    judge,
)
from kvbench.analysis.table import Table
from kvbench.records.names import names_of
from kvbench.records.record import Record, Row
from kvbench.stats.digits import short, spoken


def table(records: Sequence[Record], margins: Mapping[str, float | None]) -> Table:
    """The gates of one preset, by its perplexity and retrieval cells among `records`."""
    record = judge(records, margins)
    shown = [_shown(row) for row in record["rows"]]
    title = f"Quality gates of {record['pretrained']}"
    return Table(title, record["rows"], notes(record, records), records, record, shown)


def said_of(record: Record | None, version: str, key: str) -> str:
    """A version's word by one gate; "" without one."""
    rows = (record or {}).get("rows", [])
    own = (row["word"] for row in rows if (row["version"], row["gate"]) == (version, key))
    return str(next(own, ""))


def said(record: Record | None, version: str) -> str:
    """A version's word, and the gates that it is read from where it is not PASS; "" without one."""
    word = (record or {}).get("versions", {}).get(version)
    if record is None or word is None:
        return ""
    rows = [row for row in record["rows"] if row["version"] == version and row["word"] == word]
    names = ", ".join(GATES[row["gate"]].name for row in rows)
    return word if word == PASS else f"{word} by {names}"


def asked(record: Record) -> str:
    """The margins: `perplexity ratio up to 1.01, flips up to 5 %`."""
    return ", ".join(
        f"{GATES[key].name} up to {_margin(margin, key)}"
        for key, margin in record["margins"].items()
        if any(row["gate"] == key for row in record["rows"])
    )


def notes(record: Record, records: Sequence[Record]) -> list[str]:
    """What a reader must know beside the words."""
    if not record["rows"]:
        return ["No gate was judged: nothing was measured that the key `quality` has a margin for."]
    names = names_of(records)
    text = [
        f"{PASS}: the whole {100 * LEVEL:.0f} % interval is within the margin; {FAIL}: all of it "
        f"is beyond; else {INCONCLUSIVE}, which more text or items would settle. v1: the same "
        "figure of v1 read through two exact paths. corrupted: the figure after every stored code "
        f"was reversed; a gate that this would pass as well is {NOT_SENSITIVE}. false: the share "
        "of texts, drawn again from these windows, on which v1 itself, or a cache just at the "
        "margin, fails."
    ]
    own = [row for row in record["rows"] if row["version"] == REFERENCE and row["word"] != PASS]
    text += [
        f"v1 itself does not pass {_named(row)}: that margin is below what this study can tell."
        for row in own
    ]
    unchecked = {r["version"] for r in record["rows"] if r.get("corrupted_beyond", True) is None}
    if unchecked:
        listed = ", ".join(names.get(version, version) for version in sorted(unchecked))
        text.append(f"No corrupted cache was read of {listed}: whether its gates see one is open.")
    return text


def _shown(row: Row) -> Row:
    key, rate = row["gate"], row.get("false_failure")
    floor = row.get("floor")
    corrupted = row.get("corrupted")
    beyond = row.get("corrupted_beyond")
    return {
        "version": row["version"],
        "gate": f"{GATES[key].short} <= {_margin(row['margin'], key)}",
        "value": _number(row["value"], key) if row["version"] == REFERENCE else _spoken(row),
        "word": row["word"],
        "v1": None if floor is None else _number(floor, key),
        "corrupted": _number(corrupted, key) if corrupted is not None else "none" * bool(beyond),
        "false": None if rate is None else f"{100 * rate:.1f} %",
    }


def _named(row: Row) -> str:
    return f"{GATES[row['gate']].name} {_spoken(row)}"


def _spoken(row: Row) -> str:
    gate, ends = GATES[row["gate"]], (row["value"], row["value_low"], row["value_high"])
    scaled = [None if x is None else 100 * x if gate.percent else x for x in ends]
    text = spoken(scaled[0] or 0.0, scaled[1], scaled[2], apart_from=gate.none)
    return f"{text} %" if gate.percent else text


def _margin(value: float, key: str) -> str:
    return f"{100 * value:g} %" if GATES[key].percent else f"{value:g}"


def _number(value: float, key: str) -> str:
    return f"{short(100 * value)} %" if GATES[key].percent else short(value, 4)
