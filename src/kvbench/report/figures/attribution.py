"""Where the time per token goes: bars of floors, dispatch and the rest, per version."""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from kvbench.analysis import attribution, findings
from kvbench.records.names import names_of
from kvbench.records.record import Record, by
from kvbench.report.figures import scales, style
from kvbench.report.footer import footer
from kvbench.report.selection import evenly_spaced, shown_of

MOST = 4  # batches, and depths, that are drawn
PARTS = {
    "bandwidth_ms": ("#0072B2", "bytes / bandwidth"),
    "compute_ms": ("#56B4E9", "FLOP beyond that"),
    "dispatch_ms": ("#E69F00", "dispatch"),
    "rest_ms": ("#bbbbbb", "rest"),
}


def draw(records: list[Record]) -> Figure:
    """A panel per batch and depth, a bar per version, cut into its parts.

    `records` are decode cells, dispatch cells of the same depths, and this machine's roofs.
    """
    of = by(records, "benchmark_name")
    cells, roofs = of["decode"], of["roofs"][0]
    rows = attribution.rows(cells, of.get("dispatch", []), roofs)
    question = f"Where does a decode step of {cells[0]['pretrained']} spend its time?"
    if len(rows) < 2:
        return style.explained(question, f"{len(rows)} of {len(cells)} cells measured", cells)
    every = [{row[key] for row in rows} for key in ("batch_size", "depth")]
    batches, depths = (evenly_spaced(values, MOST) for values in every)
    figure, grid = plt.subplots(
        len(batches),
        len(depths),
        squeeze=False,
        figsize=(max(7.5, 1.8 + 2.3 * len(depths)), 2.3 * len(batches)),
    )
    for batch, line in zip(batches, grid, strict=True):
        for depth, axes in zip(depths, line, strict=True):
            here = [r for r in rows if (r["batch_size"], r["depth"]) == (batch, depth)]
            _bars(axes, sorted(here, key=lambda row: style.ordered([row["version"]])))
            axes.set_title(f"batch {batch}, depth {depth}")
        line[0].set_ylabel("ms per token step")
    handles = [Patch(color=colour, label=label) for colour, label in PARTS.values()]
    style.legend_right(grid[0][-1], handles)
    words = {part: label for part, (_, label) in PARTS.items()}
    foot = [", ".join(style.labels(cells).values()), "bars: 95 % intervals over processes"]
    if any(row["tpot_ms_low"] is None for row in rows):
        foot += [style.HOLLOW]
    foot += [
        shown_of(len(batches), len(every[0]), "batches"),
        shown_of(len(depths), len(every[1]), "depths"),
    ]
    answer = findings.largest_parts(rows, words, names_of(cells))
    style.frame(figure, question, answer, [*foot, footer(cells)])
    return figure


def _bars(axes: Axes, rows: list[Record]) -> None:
    """One bar per version; parts that outgrow the whole are drawn as they are, the rest below 0."""
    for x, row in enumerate(rows):
        bottom = 0.0
        for part, (colour, _) in PARTS.items():
            height = row[part] or 0.0
            if height < 0:
                axes.bar(x, height, color=colour, width=0.7)
            else:
                axes.bar(x, height, bottom=bottom, color=colour, width=0.7)
                bottom += height
        if row["tpot_ms_low"] is not None:
            ends = (row["tpot_ms_low"], row["tpot_ms_high"])
            style.interval(axes, (x, row["tpot_ms"]), "y", ends, color="black")
        else:
            axes.plot([x], [row["tpot_ms"]], "o", color="black", markerfacecolor="white")
    low, high = axes.get_ylim()
    if rows:
        high = min(high, scales.ROOM * max(row["tpot_ms"] for row in rows))
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(scales.linear())
    axes.set_xticks(range(len(rows)), [row["version"] for row in rows])
    axes.grid(axis="x", visible=False)
