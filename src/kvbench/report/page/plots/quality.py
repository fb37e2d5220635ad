"""Plots of what a cache keeps: how often it still answers what stands in its context."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from kvbench.analysis import retrieval
from kvbench.records.record import Record, Row, measured
from kvbench.report.page.plots.spec import (
    HEIGHT,
    Plot,
    about,
    chart_of,
    interval,
    log,
    looks,
    sized,
)
from kvbench.report.page.study import Study, number
from kvbench.report.page.table import judged_quality
from kvbench.stats.digits import short

APART = 1.02  # between the marks of two versions at one length


def retrieved(study: Study) -> Plot:
    """The share of the judged items that each cache answers, over the length of the context."""
    title, every = "Retrieval by length", measured(study.of("retrieval"))
    if not every:
        why = "Not measured: the study's benchmarks do not name retrieval."
        return Plot("retrieval", title, why)
    presets = {cell["pretrained"] for cell in every}
    preset = next(iter({judged_quality(study)} & presets), every[0]["pretrained"])
    cells = [cell for cell in every if cell["pretrained"] == preset]
    reference = retrieval.reference_of(cells)
    lengths = sorted({length for _, length in retrieval.judged(reference)})
    if reference is None or not lengths:
        lacking = "v1 answers less than half of every task" if reference else "v1 was not measured"
        return Plot("retrieval", title, f"Not judged: {lacking}.")
    ordered = sorted(cells, key=lambda cell: number(cell["version"]))
    values = [
        _value(study, cell, reference, length, n - (len(cells) - 1) / 2)
        for n, cell in enumerate(ordered)
        for length in lengths
    ]
    base = chart_of(values)
    x = alt.X(
        "at:Q",
        title="tokens of context",
        scale=log(domain=[lengths[0] / 1.3, lengths[-1] * 1.3], nice=False),
        axis=alt.Axis(values=lengths, format="d"),
    )
    y = alt.Y("right:Q", title="items answered, %", scale=alt.Scale(domain=[0, 100]))
    look = looks(study, values)
    chart = alt.layer(
        base.mark_line(strokeWidth=1.5).encode(x=x, y=y, detail="version:N", **look),
        base.mark_rule(strokeWidth=1.5).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", **look),
        base.mark_point(filled=True, size=55).encode(x=x, y=y, **look),
    )
    tasks = ", ".join(dict.fromkeys(task for task, _ in retrieval.judged(reference)))
    caption = (
        f"Items of {preset} that each cache still answers, of the tasks of which the dense one "
        f"answers half or more ({tasks}); higher is better, bars are exact 95 % intervals."
    )
    return Plot("retrieval", title, caption, sized(study, chart, height=HEIGHT))


def _value(study: Study, cell: Record, reference: Record, length: int, aside: float) -> Row:
    """One version at one length: all judged items together, paired with v1's."""
    places: Sequence[retrieval.Place] = retrieval.judged(reference, length)
    found = retrieval.pooled(cell, reference, places)
    right, low, high = (100 * found[key] for key in ("share", "share_low", "share_high"))
    return about(study, cell["version"], None) | {
        "at": length * APART**aside,
        "right": right,
        "low": low,
        "high": high,
        "value": f"{found['right']} of {found['items']} items at {length} tokens",
        "interval": interval(low, high, " %"),
        "n": f"{found['lost']} lost, {found['gained']} gained against v1, p {short(found['p'], 2)}",
    }
