"""Speed-up over a baseline, from process pairs of one interleaved block."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from kvbench.analysis.drift import Exponents, Work, compare_cells, exponents
from kvbench.analysis.rounds import UnpairedError
from kvbench.records.record import Record, by, measured
from kvbench.report.figures import facets, style
from kvbench.report.footer import footer

ROOM = 1.8  # the axis ends at this many times the largest ratio; a bar without a cap goes on


def draw(records: list[Record]) -> Figure:
    """Baseline time over each version's, against T, with paired intervals.

    `records` are latency cells and the record of their verdicts, whose adjusted level the bars
    have, so that picture and word agree. The baselines are the study's first version (v0 where it
    has one), and v1, which is what the versions above it must beat.
    """
    level = next(r["level"] for r in records if r.get("benchmark_name") == "verdicts")
    records = [r for r in records if r.get("benchmark_name") != "verdicts"]
    drift = exponents(records)
    versions = style.ordered(by(records, "version"))
    against = [versions[0]] + (["v1"] if "v1" in versions[1:-1] else [])
    batches = by(records, "batch_size")
    figure, rows = facets.grid(len(batches), len(against), width=3.8, height=3.3, margin=2.6)
    for (batch, cells), row in zip(batches.items(), rows, strict=True):
        lengths = by(measured(cells), "T")
        measured_at = {T: {c["version"]: c for c in here} for T, here in lengths.items()}
        for axes, baseline in zip(row, against, strict=True):
            others = versions[versions.index(baseline) + 1 :]
            ratios = [1.0]
            for place, version in enumerate(others):
                points = [
                    _ratio(of, baseline, version, T, drift, level) for T, of in measured_at.items()
                ]
                found = sorted(point for point in points if point)
                if not found:
                    continue
                nudge = 1 + 0.02 * (place - (len(others) - 1) / 2)  # keeps bars off one another
                T, middle, low, high = (list(column) for column in zip(*found, strict=True))
                ratios += middle
                below = [m - x for m, x in zip(middle, low, strict=True)]
                above = [x - m for m, x in zip(middle, high, strict=True)]
                facets.line(axes, version, [t * nudge for t in T], middle, below, above)
            axes.axhline(1, color="#444444", linewidth=1)
            # An interval of two or three noisy processes may span decades: points stay readable.
            bottom, top = axes.get_ylim()
            axes.set_ylim(max(bottom, min(ratios) / ROOM), min(top, max(ratios) * ROOM))
            axes.set_title(f"over {style.label(baseline)}, batch {batch}")
            axes.set_ylabel(f"time of {baseline} / time of version")
            style.t_axis(axes, [cell["T"] for cell in cells])
    compared = [record for record in records if record["version"] != against[0]]
    style.legend(figure, {c["version"]: c.get("version_description", "") for c in compared})
    figure.suptitle(f"Speed-up of {records[0]['pretrained']}, whole generation: above 1 is faster")
    style.foot(
        figure, f"{footer(records)} · bars: paired {100 * level:.4g} % intervals over processes"
    )
    return figure


def _ratio(
    chosen: Record,
    baseline: str,
    version: str,
    T: int,
    drift: dict[Work, Exponents],
    level: float,
) -> tuple[float, ...] | None:
    """(T, ratio, low, high) of baseline time over version time, of rounds that both ran in."""
    if baseline not in chosen or version not in chosen:
        return None
    try:
        found = compare_cells(chosen[baseline], chosen[version], drift, level=level)
    except UnpairedError:
        return None
    low = math.nan if found.low is None else found.low  # one process: a point without a bar
    high = math.nan if found.high is None else found.high
    return T, found.ratio, low, high
