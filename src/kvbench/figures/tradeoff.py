"""Time, bytes and quality together: what each version pays for what it saves."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.figures import style
from kvbench.records import by, measured, provenance

Records = list[dict[str, Any]]


def draw(records: Records) -> Figure:
    """Cache bytes per token against time per token, and against loss through the cache.

    Time is of the largest T and the smallest batch measured. An axis that nothing was measured for
    says so instead of being drawn.
    """
    named = by(measured(records), "benchmark_name")
    timed, scored = named.get("latency_vs_T", []), named.get("perplexity", [])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.9))
    preset = records[0]["pretrained"]
    if timed:
        batch, T = min(c["batch_size"] for c in timed), max(c["T"] for c in timed)
        chosen = [c for c in timed if (c["batch_size"], c["T"]) == (batch, T)]
        _points(left, chosen, "time_per_token_ms_median")
        left.set_ylabel("ms per token")
        left.set_title(f"Time, T = {T}, batch {batch}")
    else:
        _nothing(left, "Time", f"not measured: {preset} is not in `pretrained`")
    if scored:
        _points(right, scored, "perplexity")
        right.set_ylabel("perplexity through the cache")
        right.set_title(f"Quality on {scored[0]['text']}")
    else:
        weights = timed[0]["weights"] if timed else "unknown"
        _nothing(right, "Quality", f"not measured: {weights} weights have none to lose")
    figure.suptitle(f"What {preset}'s cache costs and saves (down and left is better)")
    style.foot(figure, provenance(records))
    return figure


def _points(axes: Axes, cells: Records, key: str) -> None:
    for cell in sorted(cells, key=lambda cell: cell["version"]):
        colour, marker = style.look(cell["version"])
        x, y = cell["cache_bytes_per_token"] / 1e3, cell[key]
        axes.plot(x, y, marker, color=colour, markersize=8)
        axes.annotate(
            style.label(cell["version"], cell["version_description"]),
            (x, y),
            (7, 5),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xlabel("cache, kB per token")
    axes.margins(0.22)


def _nothing(axes: Axes, title: str, why: str) -> None:
    axes.set_title(title)
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes, color="#555555")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
