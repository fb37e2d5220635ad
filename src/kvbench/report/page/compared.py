"""The page of two studies: what got faster or slower, larger or smaller, from one to the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvbench.analysis import regression
from kvbench.analysis.verdict_notes import at
from kvbench.files import Json, write_text
from kvbench.records.record import Record, Row, is_error
from kvbench.report.page.asked import provenance
from kvbench.report.page.html import FIRST, MARKS, template
from kvbench.report.page.plots.spec import Plot, sized
from kvbench.report.page.plots.speed import dot, dots
from kvbench.report.page.study import Study, milliseconds
from kvbench.report.page.table import MISSING, Field
from kvbench.stats.decisions import EQUIVALENT, FASTER, INCONCLUSIVE, SLOWER
from kvbench.stats.digits import short, size, spoken

RESULTS = "results.jsonl"
HEADERS = ("Cache", "Measured at", "Before", "Now", "Change", "Verdict")
MOST = 60  # rows of the plot
ORDER = (
    *(SLOWER, regression.LARGER, FASTER, regression.SMALLER),  # what changed comes first
    *(INCONCLUSIVE, EQUIVALENT, regression.EQUAL),
)
WORDS = {
    FASTER: "is now {} times as fast",
    SLOWER: "is now slower, {} times as fast",
    EQUIVALENT: "is as fast as before, {} times",
    INCONCLUSIVE: "shows no difference, {} times as fast",
}


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    version: str
    word: str
    colour: str
    fields: list[Field]


def compare(
    before: str | Path,
    now: str | Path,
    page: str | Path,
    margin: float = 0.05,
    allow: Iterable[str] = (),
) -> Record:
    """Write the page of two studies; returns the record of their comparison.

    `before` and `now` are results.jsonl files, or the folders that hold one; cells are compared
    with those before as `analysis.regression` does, an interval within `margin` being equivalent.
    Raises FileNotFoundError where there is no such file, MixedRecordsError, naming two
    records, where device, dtype, threads or weights differ and `allow` does not name the key, and
    ValueError where the studies have no cell in common.
    """
    files = [_results(path) for path in (before, now)]
    studies = [_study(path, file) for path, file in zip((before, now), files, strict=True)]
    record = regression.against(
        regression.read_lines(files[1]), regression.read_lines(files[0]), margin, allow
    )
    write_text(page, render(studies[0], studies[1], record))
    return record


def render(before: Study, now: Study, record: Record) -> str:
    """The page, as the text of a file that needs no other."""
    rows = sorted(
        record["rows"],
        key=lambda row: ORDER.index(row["verdict"]) if row["verdict"] in ORDER else 9,
    )
    timed = [row for row in rows if "speedup" in row]
    weighed = [row for row in rows if "smaller" in row]
    return template("compared.html").render(
        title=f"{now.name} against {before.name}",
        names=(before.name, now.name),
        counts=f"{len(timed)} times and {len(weighed)} peaks of memory",
        margin=f"{100 * record['margin']:.3g} %",
        level=f"{100 * record['level']:.4g} %",
        cards=_cards(now, record, timed, weighed),
        headers=HEADERS,
        lines=list(_lines(before, now, rows)),
        plots=[_plot(now, record, timed)],
        notes=regression.notes(record),
        both=_both(before, now),
    )


def sentence(row: Row, names: dict[str, str]) -> str:
    """One row in words."""
    subject = f"{names[row['version']]} of {row['pretrained']} at {at(row)}"
    if "smaller" in row:
        return f"{subject} peaks {_resized(row)}"
    numbers = spoken(row["speedup"], row["speedup_low"], row["speedup_high"], apart_from=1)
    return f"{subject} {WORDS[row['verdict']].format(numbers)}"


def _resized(row: Row) -> str:
    """How a peak of memory changed: `1.11 times larger`."""
    if row["verdict"] == regression.EQUAL:
        return "equal to the byte"
    return f"{short(max(row['smaller'], 1 / row['smaller']))} times {row['verdict']}"


def _results(path: str | Path) -> Path:
    file = Path(path, RESULTS) if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no results in {path}: give a {RESULTS}, or the folder of one")
    return file


def _study(path: str | Path, file: Path) -> Study:
    name = Path(path).resolve().name if Path(path).is_dir() else file.resolve().parent.name
    return Study(name, list(regression.read_lines(file)), [])


def _cards(now: Study, record: Record, timed: list[Row], weighed: list[Row]) -> list[Json]:
    """Times, memory, and what all cells moved by."""
    moved = [row for row in timed if row["verdict"] in (FASTER, SLOWER)]
    changed = [row for row in weighed if row["verdict"] != regression.EQUAL]
    unclear = sum(row["verdict"] == INCONCLUSIVE for row in timed)
    same = len(timed) - len(moved) - unclear
    worse = sum(bool(row["regression"]) for row in record["rows"])
    several = "s" if worse > 1 else ""
    gate = {"text": "nothing is shown to be worse by more than the margin", "mark": "✓"}
    if worse:
        gate = {"text": f"{worse} measurement{several} got worse by more than the margin"}
        gate["mark"] = "✗"
    return [
        _card(
            "speed",
            "What got faster or slower?",
            [_said(row, now.names) for row in moved],
            f"Of {len(timed)} times {same} are the same within the margin, and {unclear} show no "
            "difference."
            if timed
            else "No time was measured in both.",
        ),
        _card(
            "memory",
            "What got larger or smaller?",
            [_said(row, now.names) for row in changed],
            f"{len(weighed) - len(changed)} of {len(weighed)} peaks are equal to the byte."
            if weighed
            else "No memory was measured in both.",
        ),
        _card(
            "gate",
            "Is it a regression?",
            [gate | {"word": SLOWER if worse else FASTER}],
            regression.notes(record)[1],
        ),
    ]


def _said(row: Row, names: dict[str, str]) -> dict[str, str]:
    word = row["verdict"]
    return {"text": sentence(row, names), "word": word, "mark": MARKS.get(word, "•")}


def _card(question: str, title: str, answers: list[dict[str, str]], about: str) -> Json:
    return {
        "question": question,
        "title": title,
        "first": answers[:FIRST],
        "more": answers[FIRST:],
        "about": about,
    }


def _lines(before: Study, now: Study, rows: Sequence[Row]) -> Iterator[Line]:
    """The table's rows, what got worse first."""
    values = [{_key(cell): cell for cell in study.records} for study in (before, now)]
    for row in rows:
        cells = [found.get(_key_of(row)) for found in values]
        if "smaller" in row:
            shown = [
                Field(size(c["peak_memory_bytes"]), "", c["peak_memory_bytes"]) for c in cells if c
            ]
            change = Field(_resized(row), "", row["smaller"])
        else:
            shown = [_time(cell) for cell in cells if cell]
            numbers = (row["speedup"], row["speedup_low"], row["speedup_high"])
            change = Field(spoken(*numbers, apart_from=1), "times as fast", row["speedup"])
        name = Field(
            now.names[row["version"]],
            row["version"],
            int("".join(filter(str.isdigit, row["version"])) or 0),
        )
        where = Field(f"{row['pretrained']}, {at(row)}", _what(row))
        yield Line(
            row["version"], row["verdict"], now.colour(row["version"]),
            [name, where, *(shown or [Field(MISSING)] * 2), change, Field(row["verdict"])],
        )  # fmt: skip


def _what(row: Row) -> str:
    return "peak memory" if "smaller" in row else "ms per token"


def _time(cell: Record) -> Field:
    value, low, high = milliseconds(cell)
    return Field(spoken(value, low, high), "ms per token", value)


def _key(cell: Record) -> tuple[Any, ...]:
    place = (cell.get(key) for key in regression.PLACE)
    return ("error" if is_error(cell) else cell["benchmark_name"], *place)


def _key_of(row: Row) -> tuple[Any, ...]:
    return (row["benchmark"], *(row.get(key) for key in regression.PLACE))


def _plot(now: Study, record: Record, timed: Sequence[Row]) -> Plot:
    """Speed-ups of the later study over the earlier one, what got slower on top."""
    title = f"Speed-up of {now.name}"
    if not timed:
        return Plot("speedup", title, "No time was measured in both studies.")
    values = [
        {"version": row["version"]}
        | dot(
            row,
            [other["speedup"] for other in timed[:MOST]],
            record["level"],
            f"{now.names[row['version']]}, {row['pretrained']}, {at(row)}",
        )
        for row in timed[:MOST]
    ]
    caption = "Right of 1 is faster than before. Lines are intervals, adjusted for all rows."
    if len(timed) > MOST:
        caption += f" {MOST} of {len(timed)} are drawn; the table has all."
    chart = dots(now, values, record["margin"], "times as fast as before")
    return Plot("speedup", title, caption, sized(now, chart, rows=len(values)))


def _both(before: Study, now: Study) -> list[tuple[str, str, str]]:
    """Where the two studies' numbers come from, side by side."""
    sides = [dict(provenance(study)) for study in (before, now)]
    return [
        (name, sides[0].get(name, MISSING), sides[1].get(name, MISSING))
        for name in dict.fromkeys([*sides[0], *sides[1]])
    ]
