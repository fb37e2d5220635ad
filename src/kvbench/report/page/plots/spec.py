"""What all plots share: signals, colours, tooltips, and the size of their frame.

Every plot filters by the signals `place` and `series`, and pales what `chosen` does not name, so
that the page can set one choice for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from kvbench.files import Json
from kvbench.records.record import Record, Row
from kvbench.report.page.study import Place, Study, number
from kvbench.stats.digits import spoken

SHOWN = "indexof(chosen, datum.version) >= 0 || length(chosen) === 0"
PALE = 0.12
STEP = 30  # pixels of a row
HEIGHT = 260
HOVER = ("cache", "value", "interval", "n", "ran")


@dataclass(frozen=True)
class Plot:
    """One plot: its title, what to read in it, and its specification or why there is none."""

    name: str
    title: str
    caption: str
    spec: Json | None = None
    scales: bool = False  # whether its axis of values can be made logarithmic


def about(study: Study, version: str, place: Place | None) -> Row:
    """What every datum has: its version, and where it lies."""
    found = {"version": version, "cache": study.names[version]}
    return found | ({"place": place.key, "series": place.series} if place else {})


def of_batch(cells: Sequence[Record], preset: str, batch: int) -> list[Record]:
    """The cells of a preset and batch; of the largest batch that they have where it is not one."""
    own = [cell for cell in cells if cell["pretrained"] == preset]
    batches = {cell["batch_size"] for cell in own}
    wanted = batch if batch in batches else max(batches, default=0)
    return [cell for cell in own if cell["batch_size"] == wanted]


def interval(low: float | None, high: float | None, unit: str) -> str:
    if low is None or high is None:
        return "no interval: one process"
    texts = spoken((low + high) / 2, low, high, apart_from=1).partition("[")[2].rstrip("]")
    return f"{texts.replace(', ', ' to ')}{unit}"


def log(**options: Any) -> Any:
    return alt.Scale(type="log", **options)


def rows_of(values: Sequence[Row]) -> Any:
    ordered = sorted(values, key=lambda value: number(value["version"]))
    return alt.Y(
        "row:N",
        sort=list(dict.fromkeys(value["row"] for value in ordered)),
        title=None,
        axis=alt.Axis(labelLimit=240, ticks=False, domain=False, grid=False, labelPadding=8),
    )


def looks(study: Study, values: Sequence[Row]) -> Json:
    """A version's colour everywhere; pale where another one was chosen; the tooltip."""
    versions = sorted({value["version"] for value in values}, key=number)
    colours = alt.Scale(domain=versions, range=[study.colour(version) for version in versions])
    return {"color": alt.Color("version:N", scale=colours, legend=None), **hover(values)}


def hover(values: Sequence[Row]) -> Json:
    return {
        "opacity": alt.when(SHOWN).then(alt.value(1)).otherwise(alt.value(PALE)),
        "tooltip": [alt.Tooltip(f"{key}:N", title=key) for key in HOVER if key in values[0]],
    }


def stacked(values: list[Row], parts: Sequence[str], field: str, title: str) -> Any:
    """Bars of `field` by `part`, one a row, in the order of `parts`."""
    place = {part: n for n, part in enumerate(parts)}
    for value in values:
        value["nth"] = place[value["part"]]
    colours = [f"var(--p{n})" for n in range(len(parts))]
    return (
        chart_of(values)
        .mark_bar(height={"band": 0.6})
        .encode(
            x=alt.X(f"{field}:Q", stack="zero", title=title),
            y=rows_of(values),
            color=alt.Color(
                "part:N",
                scale=alt.Scale(domain=list(parts), range=colours),
                legend=alt.Legend(orient="top", title=None, columns=3),
            ),
            order=alt.Order("nth:Q"),
            **hover(values),
        )
    )


def most_rows(values: Sequence[Row], key: str = "place") -> int:
    """The most rows that one place shows."""
    found: dict[str, set[str]] = {}
    for value in values:
        found.setdefault(value[key], set()).add(value["row"])
    return max(map(len, found.values()))


def sized(study: Study, chart: Any, rows: int = 0, height: int = 0) -> Json:
    """The specification, as wide as its frame, with the signals that the page sets."""
    at = study.headline
    chosen = alt.param(name="chosen", value=[])
    place = alt.param(name="place", value=at.key if at else "")
    series = alt.param(name="series", value=at.series if at else "")
    framed = chart.properties(
        width="container",
        height=height or max(HEIGHT - 40, STEP * rows),
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
    ).add_params(chosen, place, series)
    found: Json = framed.to_dict()
    del found["config"]  # the page has its own
    return found


def chart_of(values: Sequence[Row]) -> Any:
    return alt.Chart(alt.Data(values=list(values)))
