"""Latency against generation length: the whole, and per token."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.figures import style
from kvbench.records import by, measured, provenance

Records = list[dict[str, Any]]


def draw(records: Records) -> Figure:
    """Total time and time per token over T, a row per batch size, with 95 % intervals."""
    batches = by(records, "batch_size")
    figure, rows = plt.subplots(
        len(batches), 2, figsize=(9.6, 0.9 + 3.3 * len(batches)), squeeze=False
    )
    for (batch, cells), (left, right) in zip(batches.items(), rows, strict=True):
        for version in style.ordered(by(cells, "version")):
            mine = [cell for cell in cells if cell["version"] == version]
            _lines(left, right, version, mine)
        left.set_title(f"T tokens, batch {batch}")
        left.set_ylabel("ms")
        right.set_title(f"per token (whole time / T), batch {batch}")
        right.set_ylabel("ms per token")
        for axes in (left, right):
            style.log_y(axes)
            style.t_axis(axes, [cell["T"] for cell in cells])
    style.legend(figure, {cell["version"]: cell["version_description"] for cell in records})
    first = records[0]
    figure.suptitle(
        f"Time to generate T tokens with {first['pretrained']}, prompt {first['prompt_length']}"
    )
    style.foot(figure, f"{provenance(records)} · bars: 95 % intervals over processes")
    return figure


def _lines(left: Axes, right: Axes, version: str, cells: Records) -> None:
    colour, marker = style.look(version)
    whole = sorted(measured(cells), key=lambda cell: cell["T"])
    T = [cell["T"] for cell in whole]
    for axes, scale in ((left, [1] * len(T)), (right, T)):
        middle = [c["time_total_ms_median"] / s for c, s in zip(whole, scale, strict=True)]
        errors = [_error(cell, s) for cell, s in zip(whole, scale, strict=True)]
        axes.errorbar(
            T,
            middle,
            yerr=list(zip(*errors, strict=True)) if errors else None,
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.6,
            capsize=2.5,
        )
    for cell in cells:
        if "error" in cell:
            style.mark_out_of_memory(left, cell["T"], version)


def _error(cell: dict[str, Any], scale: float) -> tuple[float, float]:
    """Distances from the median to the interval's ends; none where there is no interval."""
    interval = cell["time_total_ms_interval"]
    if interval["low"] is None:
        return 0.0, 0.0
    middle = cell["time_total_ms_median"]
    return max(0.0, middle - interval["low"]) / scale, max(0.0, interval["high"] - middle) / scale
