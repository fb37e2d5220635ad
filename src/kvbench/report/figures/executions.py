"""The decode step by the way it is run: operator by operator, by native kernels, as a graph."""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.analysis.runners import step_interval, ways
from kvbench.records.record import Record, by, measured
from kvbench.report.figures import style
from kvbench.report.footer import footer
from kvbench.report.selection import evenly_spaced, shown_of

MOST = 4  # batches that are drawn
ROOM = 2.0  # the axis ends at this many times the slowest step
WAYS = {  # what asked for it: colour and marker
    "eager-torch": ("#6b6b6b", "o"),
    "eager-native": ("#009E73", "s"),
    "eager-triton": ("#56B4E9", "X"),
    "compile-torch": ("#CC79A7", "D"),
    "graph-torch": ("#E69F00", "^"),
    "graph-triton": ("#D55E00", "v"),
}


def draw(records: list[Record]) -> Figure:
    """Milliseconds a step per version, a line per way, a panel per batch, with 95 % intervals."""
    every = by(records, "batch_size")
    batches = {batch: every[batch] for batch in evenly_spaced(every, MOST)}
    figure, row = plt.subplots(
        1, len(batches), squeeze=False, figsize=(2.6 + 4.2 * len(batches), 4.0)
    )
    for axes, (batch, cells) in zip(row[0], batches.items(), strict=True):
        versions = style.ordered(by(cells, "version"))
        for place, (mode, mine) in enumerate(by(cells, "mode").items()):
            nudge = 0.22 * (place - (len(by(cells, "mode")) - 1) / 2)
            _way(axes, mode, mine, versions, nudge)
        axes.set_xticks(
            range(len(versions)), [style.label(v).replace(" ", "\n", 1) for v in versions]
        )
        axes.set_xlim(-0.5, len(versions) - 0.5)
        axes.set_title(f"Decode step, batch {batch}")
        axes.set_ylabel("ms a step")
        style.log_y(axes)
        middles = [step_interval(cell).point for cell in measured(cells)]
        if middles:  # an interval of two noisy processes may span decades: points stay readable
            bottom, top = axes.get_ylim()
            axes.set_ylim(max(bottom, min(middles) / ROOM), min(top, max(middles) * ROOM))
    row[0][-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    first = records[0]
    settings = f"prompt {first['prompt_length']}, T = {first['T']}"
    figure.suptitle(f"Ways to run a step of {first['pretrained']}, {settings}")
    parts = [footer(records), "a step is the forward and the pick", "bars: 95 %"]
    parts += [shown_of(len(batches), len(every), "batches")]
    style.foot(figure, " · ".join(filter(None, parts)))
    return figure


def _way(axes: Axes, mode: str, cells: list[Record], versions: list[str], nudge: float) -> None:
    colour, marker = WAYS[mode]
    whole = {cell["version"]: cell for cell in measured(cells)}
    x = [versions.index(version) + nudge for version in whole]
    found = [step_interval(cell) for cell in whole.values()]
    low = [f.point - (f.point if f.low is None else f.low) for f in found]
    high = [(f.point if f.high is None else f.high) - f.point for f in found]
    ran = sorted({ways(cell) for cell in whole.values()})
    axes.errorbar(
        x,
        [f.point for f in found],
        yerr=[low, high],
        color=colour,
        marker=marker,
        markersize=6,
        linestyle="none",
        capsize=2.5,
        label=" / ".join(ran) or f"{mode}: {cells[0].get('error', 'not measured')}",
    )
    for place, f in zip(x, found, strict=True):
        at = (place, f.point)
        axes.annotate(
            f"{f.point:.3g}", at, (7, 3), textcoords="offset points", fontsize=8, color=colour
        )
