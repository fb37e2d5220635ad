"""Memory against generation length, and what the peak is made of."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.records.record import Record, by, is_error, measured
from kvbench.report.figures import facets, style
from kvbench.report.footer import footer

PARTS = (("cache_reserved_bytes", "cache, reserved"), ("transient_bytes", "transient"))


def draw(records: list[Record]) -> Figure:
    """Cache bytes over T; then the peak above the baseline at the largest T, by part."""
    batches = by(records, "batch_size")
    figure, rows = facets.grid(len(batches), 2, width=3.7, height=3.3)
    few = not facets.many(len(batches))
    for (batch, cells), (left, right) in zip(batches.items(), rows, strict=True):
        _cache(left, cells)
        left.set_title(f"KV cache, batch {batch}" + (": used, dotted: reserved" if few else ""))
        _parts(right, cells, few)
    style.legend(figure, {cell["version"]: cell["version_description"] for cell in records})
    figure.legend(*rows[0][1].get_legend_handles_labels(), loc="outside right lower", fontsize=8)
    dotted = "" if few else "; cache solid: used, dotted: reserved"
    first = records[0]
    figure.suptitle(f"Memory of {first['pretrained']}, prompt {first['prompt_length']}{dotted}")
    accounting = next((r["accounting"] for r in measured(records)), "nothing")
    style.foot(figure, f"{footer(records)} · counted by: {accounting}")
    return figure


def _cache(axes: Axes, cells: list[Record]) -> None:
    for version in style.ordered(by(cells, "version")):
        colour, marker = style.look(version)
        mine = [cell for cell in cells if cell["version"] == version]
        whole = sorted(measured(mine), key=lambda cell: cell["T"])
        T = [cell["T"] for cell in whole]
        axes.plot(
            T,
            [cell["cache_used_bytes"] / 1e6 for cell in whole],
            color=colour,
            marker=marker,
            markersize=5,
            markevery=None if len(T) <= facets.DENSE else 0.15,
        )
        axes.plot(T, [c["cache_reserved_bytes"] / 1e6 for c in whole], color=colour, ls=":", lw=1.2)
        for cell in mine:
            if is_error(cell):
                style.mark_out_of_memory(axes, cell["T"], version)
    axes.set_ylabel("MB")
    axes.set_ylim(bottom=0)
    style.t_axis(axes, [cell["T"] for cell in cells])


def _parts(axes: Axes, cells: list[Record], few: bool) -> None:
    """Bars of peak minus baseline, split by part, with the peak beside; of few, weights as well."""
    T = max(cell["T"] for cell in cells)
    whole = [cell for cell in measured(cells) if cell["T"] == T]
    whole.sort(key=lambda cell: style.ordered(by(cells, "version")).index(cell["version"]))
    names = [cell["version"] for cell in whole]
    left = [0.0] * len(whole)
    for (key, name), shade in zip(PARTS, ("#4c78a8", "#bfbfbf"), strict=True):
        sizes = [cell[key] / 1e6 for cell in whole]
        axes.barh(names, sizes, left=left, color=shade, label=name, height=0.6)
        left = [a + b for a, b in zip(left, sizes, strict=True)]
    for cell, end in zip(whole, left, strict=True):
        peak, weights = (style.bytes_label(cell[k]) for k in ("peak_memory_bytes", "weight_bytes"))
        axes.annotate(
            f" peak {peak}" + (f", weights {weights}" if few else ""),
            (end, cell["version"]),
            va="center",
            fontsize=8,
        )
    style.bars(axes)
    where = f"batch {cells[0]['batch_size']}, T = {T}"
    axes.set_title(f"peak above weights and prompt, {where}" if few else f"peak, T = {T}")
    axes.set_xlabel("MB")
    axes.set_xlim(0, max(left, default=1) * 1.9 or 1)
