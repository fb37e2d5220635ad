"""Latency against generation length: the whole, and per token."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.records.record import Record, by, is_error, measured
from kvbench.report.figures import facets, style
from kvbench.report.footer import footer


def draw(records: list[Record]) -> Figure:
    """Total time and time per token over T, two panels per batch size, with 95 % intervals."""
    batches = by(records, "batch_size")
    figure, rows = facets.grid(len(batches), 2, width=3.7, height=3.3)
    for (batch, cells), (left, right) in zip(batches.items(), rows, strict=True):
        for version in style.ordered(by(cells, "version")):
            mine = [cell for cell in cells if cell["version"] == version]
            _lines(left, right, version, mine)
        few = not facets.many(len(batches))
        left.set_title(f"T tokens, batch {batch}" if few else f"batch {batch}")
        left.set_ylabel("ms")
        right.set_title(f"per token (whole time / T), batch {batch}" if few else "per token")
        right.set_ylabel("ms per token")
        for axes in (left, right):
            style.log_y(axes)
            style.t_axis(axes, [cell["T"] for cell in cells])
    style.legend(figure, {cell["version"]: cell["version_description"] for cell in records})
    first = records[0]
    figure.suptitle(
        f"Time to generate T tokens with {first['pretrained']}, prompt {first['prompt_length']}"
    )
    style.foot(figure, f"{footer(records)} · bars: 95 % intervals over processes")
    return figure


def _lines(left: Axes, right: Axes, version: str, cells: list[Record]) -> None:
    whole = sorted(measured(cells), key=lambda cell: cell["T"])
    T = [cell["T"] for cell in whole]
    for axes, scale in ((left, [1] * len(T)), (right, T)):
        middle = [c["time_total_ms_median"] / s for c, s in zip(whole, scale, strict=True)]
        errors = [_error(cell, s) for cell, s in zip(whole, scale, strict=True)]
        below, above = zip(*errors, strict=True) if errors else ((), ())
        facets.line(axes, version, T, middle, below, above)
    for cell in cells:
        if is_error(cell):
            style.mark_out_of_memory(left, cell["T"], version)


def _error(cell: Record, scale: float) -> tuple[float, float]:
    """Distances from the median to the interval's ends; none where there is no interval."""
    interval = cell["time_total_ms_interval"]
    if interval["low"] is None:
        return 0.0, 0.0
    middle = cell["time_total_ms_median"]
    return max(0.0, middle - interval["low"]) / scale, max(0.0, interval["high"] - middle) / scale
