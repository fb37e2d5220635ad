"""Plots of what a cache costs: bytes against perplexity, and the parts of the memory."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from kvbench.analysis.quality import change_words, compression
from kvbench.analysis.verdict_notes import at
from kvbench.records.record import TIMED, Record, Row, measured
from kvbench.report.page.plots.spec import (
    HEIGHT,
    Plot,
    about,
    chart_of,
    looks,
    most_rows,
    of_batch,
    sized,
    stacked,
)
from kvbench.report.page.study import Place, Study, milliseconds, place_of, ran
from kvbench.report.page.table import judged_quality
from kvbench.stats.digits import short, size

LABEL_WIDTH, LABEL_HEIGHT = 16.0, 0.07  # of the axes: per cent of the dense one, share of a span
WORST = 10.0  # per cent of perplexity; what lies beyond stands at the edge
MEMORY = {"cache": "cache_reserved_bytes", "working memory": "transient_bytes"}


def tradeoff(study: Study) -> Plot:
    """Cache bytes against perplexity, the area of a mark being its time per token."""
    title, preset = "Size against quality", judged_quality(study)
    scored = [c for c in measured(study.of("perplexity")) if c["pretrained"] == preset]
    if not scored:
        return Plot("tradeoff", title, "No perplexity was measured, so that quality is unknown.")
    dense = next((c["cache_bytes_per_token"] for c in scored if c["version"] == "v1"), None)
    if dense is None:
        return Plot("tradeoff", title, "The dense cache was not scored, so that none compares.")
    if len(scored) < 2 or all(cell["version"] in ("v0", "v1") for cell in scored):
        return Plot("tradeoff", title, "Only the reference was scored.")
    values: list[Row] = []
    places: list[Place | None] = [*study.places] or [None]
    for place in places:
        timed = {
            cell["version"]: cell for cell in measured(study.of(*TIMED)) if place_of(cell) == place
        }
        for cell in scored:
            found = cell["paired"]["perplexity_ratio"]
            change, low, high = (
                None if found[key] is None else 100 * (found[key] - 1)
                for key in ("ratio", "low", "high")
            )
            own = timed.get(cell["version"])
            if change is None or not cell["cache_bytes_per_token"] or (timed and own is None):
                continue
            ms = milliseconds(own)[0] if own else None
            times = compression(cell)["fp32" if cell["dtype"] == "float32" else "bf16"]
            kept = size(cell["cache_bytes_per_token"])
            values.append(
                about(study, cell["version"], place)
                | {
                    "size": 100 * cell["cache_bytes_per_token"] / dense,
                    "change": min(change, WORST),
                    "beyond": change > WORST,
                    "low": None if low is None else min(low, WORST),
                    "high": None if high is None else min(high, WORST),
                    "ms": ms or 1,
                    "label": study.names[cell["version"]]
                    + (f" {change_words(cell, interval=False)}" if change > WORST else ""),
                    "left": cell["cache_bytes_per_token"] > dense / 2,
                    "value": f"perplexity {change_words(cell)}",
                    "interval": f"{kept} a token, {times:.2f}× smaller than dense",
                    "n": f"{cell['n_windows']} windows of {cell['context']} tokens",
                    "ran": f"{short(ms)} ms per token" if ms else "not timed",
                }
            )
    if not values:
        return Plot("tradeoff", title, "No cache was both timed and scored.")
    base = chart_of(values)
    if study.places:
        base = base.transform_filter("datum.place === place")
    x = alt.X(
        "size:Q", title="cache, % of the dense one", scale=alt.Scale(domain=[0, 108], nice=False)
    )
    y_title = "perplexity, % more"
    y = alt.Y("change:Q", title=y_title, scale=alt.Scale(padding=18))
    _set_labels_apart(values)
    look = looks(study, values)
    area = alt.Size("ms:Q", scale=alt.Scale(zero=True, rangeMax=420), legend=None)
    mark = alt.Shape(
        "beyond:N",
        scale=alt.Scale(domain=[False, True], range=["circle", "triangle-up"]),
        legend=None,
    )
    layers = [
        alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(color="var(--line)").encode(y="zero:Q"),
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2)
        .encode(x=x, y=alt.Y("low:Q", title=y_title), y2="high:Q", **look),
        base.mark_point(filled=True).encode(x=x, y=y, size=area, shape=mark, **look),
        *(
            base.transform_filter(f"{'' if left else '!'}datum.left")
            .mark_text(align="right" if left else "left", dx=-14 if left else 14)
            .encode(x=x, y=alt.Y("text:Q", title=y_title), text="label:N", **look)
            for left in (True, False)
        ),
    ]
    caption = (
        f"Perplexity of {preset} on real text, read through each cache; lower and further left is "
        "better. The larger a mark, the more time per token."
    )
    if any(value["beyond"] for value in values):
        caption += f" Triangles are worse than {WORST:.0f} %: their number stands beside them."
    return Plot("tradeoff", title, caption, sized(study, alt.layer(*layers), height=HEIGHT))


def _set_labels_apart(values: list[Row]) -> None:
    """Where each mark's label stands, below the labels of the marks beside it at its place."""
    span = max(v["change"] for v in values) - min(v["change"] for v in values)
    placed: dict[str, list[Row]] = {}
    for value in sorted(values, key=lambda value: -value["change"]):
        others = placed.setdefault(value.get("place", ""), [])
        lowest = [o["text"] for o in others if abs(o["size"] - value["size"]) < LABEL_WIDTH]
        value["text"] = min([value["change"], *(at - LABEL_HEIGHT * span for at in lowest)])
        others.append(value)


def _weighed(cells: Sequence[Record], place: Place) -> list[Record]:
    """The memory cells of a place: of a depth, which is not weighed, those of the longest T."""
    here = of_batch(cells, place.preset, place.batch)
    longest = max((cell["T"] for cell in here), default=0)
    exact = place.axis == "T" and any(cell["T"] == place.length for cell in here)
    return [cell for cell in here if cell["T"] == (place.length if exact else longest)]


def memory(study: Study) -> Plot:
    """What the process holds besides its weights, by part."""
    title = "Memory"
    cells = study.of("vram_vs_T")
    whole = measured(cells)
    if not whole:
        why = "Every cell ran out of memory." if cells else "No memory was measured."
        return Plot("memory", title, why)
    values: list[Row] = []
    for place in study.places:
        for cell in _weighed(whole, place):
            for part, key in MEMORY.items():
                values.append(
                    about(study, cell["version"], place)
                    | {
                        "row": study.names[cell["version"]],
                        "mb": cell[key] / 1e6,
                        "part": part,
                        "value": f"{size(cell[key])} of {part}",
                        "interval": f"peak {size(cell['peak_memory_bytes'])}, weights included",
                        "n": f"{size(cell['cache_used_bytes'])} of the cache used, {at(cell)}",
                        "ran": ran(cell),
                    }
                )
    chart = stacked(values, tuple(MEMORY), "mb", "MB besides the weights")
    chart = chart.transform_filter("datum.place === place")
    weights = sorted({cell["baseline_memory_bytes"] for cell in whole})
    span = size(weights[0]) if len(weights) == 1 else f"{size(weights[0])} to {size(weights[-1])}"
    caption = f"Reserved for the cache, and what a step takes beside it; weights take {span} more."
    if len({place.batch for place in study.places}) > len({cell["batch_size"] for cell in whole}):
        caption += " Where a batch or depth was not weighed, the largest that was."
    if lost := len(cells) - len(whole):
        caption += f" {lost} of {len(cells)} ran out of memory and are not drawn."
    return Plot("memory", title, caption, sized(study, chart, rows=most_rows(values)))
