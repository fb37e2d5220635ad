"""Plots of time: speed-ups with their intervals, and the time per token over depth or length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from kvbench.records.record import TIMED, Record, Row, measured
from kvbench.report.page.plots.spec import (
    HEIGHT,
    SHOWN,
    Plot,
    about,
    chart_of,
    interval,
    log,
    looks,
    most_rows,
    rows_of,
    sized,
)
from kvbench.report.page.study import Place, Study, milliseconds, place_of, place_of_row, ran
from kvbench.stats.digits import short

ROOM = 2.0  # an interval is drawn up to this many times beyond the outermost speed-up
MARKED = (  # up to this span of speed-ups -> what their axis marks, 1 always among it
    (1.5, [n / 10 for n in range(1, 31)]),
    (3.0, [0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.25, 1.5, 2, 2.5, 3]),
    (math.inf, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]),
)
NAMED = {"T": "tokens generated", "depth": "tokens in the cache"}
TICKS = 8  # lengths that the axis names one by one


def speedup(study: Study) -> Plot:
    """Speed-ups with their intervals at the chosen place, one row a cache."""
    title = "Speed-up"
    at: dict[Place, list[tuple[Record, Row]]] = {}
    for record in study.verdicts:
        for row in record["rows"]:
            place = place_of_row(row, record)
            if row.get("speedup") is not None and place in study.places:
                at.setdefault(place, []).append((record, row))
    if not at:
        return Plot("speedup", title, "No two caches were timed side by side.")
    values: list[Row] = []
    for place, here in at.items():
        for record, row in here:
            name = f"{study.names[row['version']]} over {study.names[row['baseline']]}"
            cell = study.timed.get((row["version"], place))
            values.append(
                about(study, row["version"], place)
                | dot(row, [other["speedup"] for _, other in here], record["level"], name)
                | {"ran": ran(cell) if cell else ""}
            )
    margin = study.verdicts[0]["margin"]
    caption = (
        f"Right of 1 is faster. Dots: drift-corrected; lines: paired intervals. Shaded: within "
        f"{100 * margin:.3g} % of the same. An interval that holds 1 shows no difference."
    )
    spec = sized(study, dots(study, values, margin, "times as fast"), rows=most_rows(values))
    return Plot("speedup", title, caption, spec)


def dot(row: Row, shown: Sequence[float], level: float, name: str) -> Row:
    """A datum of `dots`: a row's speed-up; its interval is cut far beyond those `shown`."""
    low, high = row["speedup_low"], row["speedup_high"]
    return {
        "row": name,
        "cache": name,
        "speedup": row["speedup"],
        "low": None if low is None else max(low, min(1, *shown) / ROOM),
        "high": None if high is None else min(high, max(1, *shown) * ROOM),
        "value": f"{short(row['speedup'])} times as fast: {row['verdict']}",
        "interval": interval(low, high, f" ({100 * level:.4g} %)"),
        "n": f"{row['replicates']} processes each",
    }


def dots(study: Study, values: Sequence[Row], margin: float, named: str) -> Any:
    """Speed-ups on a log axis, one row a name, beside a line at 1 and the band of the margin."""
    base = chart_of(values)
    if "place" in values[0]:
        base = base.transform_filter("datum.place === place")
    scale = log(padding=16, nice=False)
    ends = [value[key] or value["speedup"] for value in values for key in ("low", "high")]
    span = max(1, *ends) / min(1, *ends)
    marks = next(marks for most, marks in MARKED if span <= most)
    ticks = alt.Axis(values=marks, labelOverlap="greedy", format="~g")
    x, low = (
        alt.X(f"{field}:Q", scale=scale, title=named, axis=ticks) for field in ("speedup", "low")
    )
    y, look = rows_of(values), looks(study, values)
    band = alt.Chart(alt.Data(values=[{"from": 1 / (1 + margin), "to": 1 + margin}]))
    return alt.layer(
        band.mark_rect(color="var(--band)").encode(x=alt.X("from:Q", title=named), x2="to:Q"),
        alt.Chart(alt.Data(values=[{"one": 1}])).mark_rule(color="var(--ink)").encode(x="one:Q"),
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=3, strokeCap="round")
        .encode(x=low, x2="high:Q", y=y, **look),
        base.mark_point(filled=True, size=110).encode(x=x, y=y, **look),
    )


def time(study: Study) -> Plot:
    """Milliseconds per token over depth, or over the tokens generated."""
    title = "Time per token"
    cells = measured(study.of(*TIMED))
    cells = [cell for cell in cells if place_of(cell) in study.places]
    if not cells:
        return Plot("time", title, "No cache was timed.")
    lengths = {axis: {cell[axis] for cell in cells if axis in cell} for axis in NAMED}
    named = [NAMED[axis] for axis, values in lengths.items() if values]
    if max(map(len, lengths.values())) < 2:
        return Plot("time", title, "One length was measured: no line.")
    values: list[Row] = []
    for cell in cells:
        value, low, high = milliseconds(cell)
        values.append(
            about(study, cell["version"], place_of(cell))
            | {
                "axis": "T" if "T" in cell else "depth",
                "x": cell["T" if "T" in cell else "depth"],
                "ms": value,
                "low": value if low is None else low,
                "high": value if high is None else high,
                "value": f"{short(value)} ms per token",
                "interval": interval(low, high, " ms (95 %)"),
                "n": f"{cell['replicates']} processes, {cell.get('disturbed', 0)} disturbed",
                "ran": ran(cell),
            }
        )
    same_axis = "indexof(place, '|' + datum.axis) > 0"  # generations, or steps at a depth
    base = chart_of(values).transform_filter(f"datum.series === series && {same_axis}")
    ticks = sorted({value["x"] for value in values})
    few = alt.Axis(format=",d", values=ticks if len(ticks) <= TICKS else alt.Undefined)
    x = alt.X(
        "x:Q",
        title=" or ".join(named),
        axis=few,
        scale=alt.Scale(padding=10, zero=False, nice=False),
    )
    y = alt.Y("ms:Q", title="ms per token", scale=alt.Scale(type="linear", zero=True))
    look = looks(study, values)
    band = {**look, "opacity": alt.when(SHOWN).then(alt.value(0.13)).otherwise(alt.value(0.02))}
    layers = [
        base.mark_area().encode(x=x, y=alt.Y("low:Q", title="ms per token"), y2="high:Q", **band),
        base.mark_line(strokeWidth=2).encode(x=x, y=y, **look),
        base.mark_point(filled=True, size=60).encode(x=x, y=y, **look),
    ]
    caption = "Medians as the clock read them, with 95 % intervals over processes."
    if lengths["T"]:
        caption += " Of a generation the first token's time is a part."
    return Plot(
        "time", title, caption, sized(study, alt.layer(*layers), height=HEIGHT), scales=True
    )
