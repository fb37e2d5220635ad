"""Memory against generation length, and what the peak is made of."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kvbench.analysis import findings
from kvbench.analysis.answers import memory_section
from kvbench.records.record import Record, by, is_error, measured
from kvbench.report.figures import facets, scales, style
from kvbench.report.footer import footer
from kvbench.stats.digits import size

PARTS = (("cache_reserved_bytes", "cache, reserved"), ("transient_bytes", "transient"))


def draw(records: list[Record]) -> Figure:
    """Cache bytes over T; then the peak above the baseline at the largest T, by part."""
    first, whole = records[0], measured(records)
    question = f"How much memory does each cache of {first['pretrained']} take?"
    if len(whole) < 2:
        return style.explained(question, f"{len(whole)} of {len(records)} cells measured", records)
    batches, named = by(records, "batch_size"), style.labels(records)
    figure, rows = facets.grid(len(batches), 2, width=3.9, height=style.tall(len(named) + 6, 3.0))
    for (batch, cells), (left, right) in zip(batches.items(), rows, strict=True):
        _cache(left, cells)
        left.set_title(f"KV cache, batch {batch}")
        _parts(right, cells, named, few=not facets.many(len(batches)))
    corner = facets.corner(rows)
    parts, _ = corner.get_legend_handles_labels()
    style.legend(corner, named)
    lines = [Line2D([], [], color="black", ls=ls, label=label) for ls, label in _LINES]
    style.legend_right(corner, [*lines, *parts], lower=True)
    foot = ["bytes are counted, not sampled: they have no interval", _weights(whole, named)]
    foot += [f"counted by: {whole[0]['accounting']}", f"prompt {first['prompt_length']}"]
    answer = findings.paragraph(memory_section(records))
    style.frame(figure, question, answer, [*foot, footer(records)])
    return figure


_LINES = (("-", "cache, used"), (":", "cache, reserved"))


def _weights(cells: list[Record], named: dict[str, str]) -> str:
    """What the weights weigh, which no bar shows: of versions that differ, each."""
    of = by([{"version": c["version"], "size": size(c["weight_bytes"])} for c in cells], "size")
    whose = {weight: ", ".join(named[v] for v in by(own, "version")) for weight, own in of.items()}
    said = [weight + (f" with {whose[weight]}" if len(of) > 1 else "") for weight in of]
    return f"weights, not drawn: {'; '.join(said)}"


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
    most = [cell["cache_reserved_bytes"] / 1e6 for cell in measured(cells)]
    scales.fit(axes, "y", [0.0, *most], "MB", from_zero=True)
    scales.lengths(axes, [cell["T"] for cell in cells])


def _parts(axes: Axes, cells: list[Record], named: dict[str, str], few: bool) -> None:
    """Bars of peak minus baseline, split by part, with the whole peak beside them."""
    T = max(cell["T"] for cell in cells)
    of = {cell["version"]: cell for cell in measured(cells) if cell["T"] == T}
    whole = [of[version] for version in style.ordered(of)]
    names = [named[cell["version"]] if few else cell["version"] for cell in whole]
    left = [0.0] * len(whole)
    for (key, name), shade in zip(PARTS, ("#4c78a8", "#bfbfbf"), strict=True):
        sizes = [cell[key] / 1e6 for cell in whole]
        axes.barh(names, sizes, left=left, color=shade, label=name, height=0.6)
        left = [a + b for a, b in zip(left, sizes, strict=True)]
    for cell, name, end in zip(whole, names, left, strict=True):
        peak = size(cell["peak_memory_bytes"])
        axes.annotate(f" peak {peak}", (end, name), va="center", fontsize=8)
    style.bars(axes)
    axes.set_title(f"peak above weights and prompt, T = {T}" if few else f"peak, T = {T}")
    scales.fit(axes, "x", [0.0, *left], "MB")
    axes.set_xlim(0, max(left, default=1) * 1.5 or 1)
