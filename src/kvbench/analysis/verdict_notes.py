"""What must be read with verdicts: direction, level, flags, and what could be seen."""

from __future__ import annotations

from collections.abc import Sequence

from kvbench.records.record import Record


def at(row: Record) -> str:
    """Where a comparison was made, in words."""
    where = f"depth {row['depth']}" if row.get("depth") else f"T {row['T']}"
    return f"batch {row['batch_size']}, {where}"


def notes(record: Record) -> list[str]:
    """What must be read with the rows: the direction, the level, the flags, what could be seen."""
    if not record["rows"]:
        return ["Nothing to compare."]
    percent = 100 * record["level"]
    lines = [
        "speedup: the baseline's time over the version's, above 1 is faster, with its paired "
        f"{percent:.4g} % interval over processes, adjusted for all rows; "
        f"equivalent: within {100 * record['margin']:.3g} %."
    ]
    if any(row.get("clock_speedup") for row in record["rows"]):
        lines.append(
            "speedup is drift-corrected: of times brought to one pace of the machine by the "
            "yardstick beside every run (docs/method.md); clock_speedup is of the clock's times as "
            "they are."
        )
    if record["benchmark_name"] == "verdicts":
        lines.append(
            "ceiling: the largest speed-up that bytes and FLOP allow, and the part of the "
            "generation that sets it; shared rows count once. Over v0 it is FLOP: a step without a "
            "cache recomputes its whole window, and reads no more weights for it. Rows with a T "
            "are whole generations, rows with a depth single decode steps."
        )
    for row in record["rows"]:
        if row.get("flag"):
            lines.append(
                f"{row['flag']}: {row['version']} against {row['baseline']} at {at(row)} is at "
                f"least {row['speedup_low']:.3g} times faster where {row['ceiling_from']} allow "
                f"{row['ceiling']:.3g}. The measurement or the code is wrong until something "
                "outside the model explains it."
            )
    controls = record.get("controls") or []
    if record["benchmark_name"] == "controls":
        controls = counted(record["rows"])
    return [*lines, *controls, smallest(record["detectable"])]


def counted(rows: Sequence[Record]) -> list[str]:
    """How often the controls came out as they must."""
    same = [row for row in rows if not row["delay"]]
    late = [row for row in rows if row["delay"]]
    wrong = sum(row["as_expected"] == "no" for row in same)
    found = sum(row["as_expected"] == "yes" for row in late)
    return [f"v1 against itself: {wrong} of {len(same)} called different."] + (
        [f"A known delay of {late[0]['delay']:.0%}: {found} of {len(late)} found."] if late else []
    )


def smallest(found: Record | None) -> str:
    """What this table could have shown, as one row and as the only difference in it."""
    if found is None:
        return "Smallest detectable difference: unknown, as one process a cell has no spread."
    alone, family = found["alone"], found["family"]
    line = (
        f"Smallest detectable difference, {100 * alone['power']:.0f} % of the time at "
        f"{alone['replicates']} replicates with the spread seen here: {_percent(alone)} for a row "
        f"of its own, {_percent(family)} for the only difference among {family['of']} rows"
    )
    if found["minutes_to_halve"] is None:
        return f"{line}."
    return (
        f"{line}; {found['replicates_to_halve']} replicates, some "
        f"{found['minutes_to_halve']:.0f} minutes more, would halve the latter."
    )


def _percent(found: Record) -> str:
    return "above 100 %" if found["relative"] > 1 else f"{100 * found['relative']:.1f} %"
