"""Where the time per token goes: bars of floors, dispatch and the rest, per version."""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from kvbench.analysis import attribution
from kvbench.records.record import Record, by
from kvbench.report.figures import style
from kvbench.report.footer import footer
from kvbench.report.selection import evenly_spaced, shown_of

MOST = 4  # batches, and depths, that are drawn
ROOM = 1.8  # the axis ends at this many times the tallest bar; a whisker without a cap goes on
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
    every = [{row[key] for row in rows} for key in ("batch_size", "depth")]
    batches, depths = (evenly_spaced(values, MOST) for values in every)
    figure, grid = plt.subplots(
        max(1, len(batches)),
        max(1, len(depths)),
        squeeze=False,
        figsize=(1.8 + 2.2 * max(1, len(depths)), 1.2 + 2.3 * max(1, len(batches))),
    )
    for batch, line in zip(batches, grid, strict=False):
        for depth, axes in zip(depths, line, strict=False):
            here = [r for r in rows if (r["batch_size"], r["depth"]) == (batch, depth)]
            _bars(axes, sorted(here, key=lambda row: style.ordered([row["version"]])))
            axes.set_title(f"batch {batch}, depth {depth}")
        line[0].set_ylabel("ms per token step")
    handles = [Patch(color=colour, label=label) for colour, label in PARTS.values()]
    figure.legend(handles=handles, loc="outside right upper", fontsize=8)
    figure.suptitle(f"Where a decode step of {cells[0]['pretrained']} spends its time")
    parts = [footer(cells), "bars: 95 % intervals over processes"]
    parts += [
        shown_of(len(batches), len(every[0]), "batches"),
        shown_of(len(depths), len(every[1]), "depths"),
    ]
    style.foot(figure, " · ".join(filter(None, parts)))
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
            ends = [row["tpot_ms"] - row["tpot_ms_low"], row["tpot_ms_high"] - row["tpot_ms"]]
            heights = [[max(0.0, end)] for end in ends]
            axes.errorbar([x], [row["tpot_ms"]], yerr=heights, color="black", capsize=2.5)
        else:
            axes.plot([x], [row["tpot_ms"]], "_", color="black", markersize=12)
    low, high = axes.get_ylim()
    # An interval of two or three noisy processes may span decades: bars stay readable.
    axes.set_ylim(low, min(high, ROOM * max(row["tpot_ms"] for row in rows)))
    axes.set_xticks(range(len(rows)), [row["version"] for row in rows])
    axes.grid(axis="x", visible=False)
