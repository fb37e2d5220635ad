"""The decode step by the way it is run: operator by operator, by native kernels, as a graph."""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.analysis import findings
from kvbench.analysis.runners import execution_rows, step_interval, ways
from kvbench.records.names import names_of
from kvbench.records.record import Record, by, measured
from kvbench.report.figures import scales, style
from kvbench.report.footer import footer
from kvbench.report.selection import evenly_spaced, shown_of

MOST = 4  # batches that are drawn
WAYS = {  # what asked for it: colour and marker
    "eager-torch": ("#6b6b6b", "o"),
    "eager-native": ("#009E73", "s"),
    "step-native": ("#0072B2", "P"),
    "eager-triton": ("#56B4E9", "X"),
    "compile-torch": ("#CC79A7", "D"),
    "graph-torch": ("#E69F00", "^"),
    "graph-triton": ("#D55E00", "v"),
}


def draw(records: list[Record]) -> Figure:
    """Milliseconds a step per version, a line per way, a panel per batch, with 95 % intervals."""
    first, whole = records[0], measured(records)
    question = f"Which way to run a decode step of {first['pretrained']} is fastest?"
    if len(whole) < 2:
        return style.explained(question, f"{len(whole)} of {len(records)} cells measured", records)
    every, named = by(records, "batch_size"), style.labels(records)
    batches = {batch: every[batch] for batch in evenly_spaced(every, MOST)}
    figure, row = plt.subplots(
        1, len(batches), squeeze=False, figsize=(2.6 + 4.9 * len(batches), 3.4)
    )
    for axes, (batch, cells) in zip(row[0], batches.items(), strict=True):
        versions = style.ordered(by(cells, "version"))
        for place, (mode, mine) in enumerate(by(cells, "mode").items()):
            nudge = 0.8 * ((place + 0.5) / len(by(cells, "mode")) - 0.5)
            _way(axes, mode, mine, versions, nudge)
        axes.set_xticks(
            range(len(versions)), [named[version].replace(" ", "\n", 1) for version in versions]
        )
        axes.set_xlim(-0.5, len(versions) - 0.5)
        axes.set_title(f"batch {batch}")
        middles = [step_interval(cell).point for cell in measured(cells)]
        scales.fit(axes, "y", middles, "ms a step", from_zero=True)
    style.legend_right(row[0][-1], row[0][-1].get_legend_handles_labels()[0])
    foot = ["a step is the forward and the pick", "bars: 95 % intervals over processes"]
    foot += [style.HOLLOW] if any(step_interval(cell).low is None for cell in whole) else []
    foot += [f"prompt {first['prompt_length']}, T = {first['T']}"]
    foot += [shown_of(len(batches), len(every), "batches")]
    answer = findings.fastest_ways(execution_rows(records), names_of(records))
    style.frame(figure, question, answer, [*foot, footer(records)])
    return figure


def _way(axes: Axes, mode: str, cells: list[Record], versions: list[str], nudge: float) -> None:
    colour, marker = WAYS[mode]
    whole = {cell["version"]: cell for cell in measured(cells)}
    ran = sorted({ways(cell) for cell in whole.values()})
    label = " / ".join(ran) or f"{mode}: {cells[0].get('error', 'not measured')}"
    axes.plot([], [], marker, color=colour, markersize=6, label=label)
    for version, cell in whole.items():
        x, found = versions.index(version) + nudge, step_interval(cell)
        low, high = (found.point if end is None else end for end in (found.low, found.high))
        fill = "white" if found.low is None else colour
        look = {"color": colour, "marker": marker, "markersize": 6, "markerfacecolor": fill}
        style.interval(axes, (x, found.point), "y", (low, high), **look)
        axes.annotate(
            f"{found.point:.3g}",
            (x, min(high, scales.ROOM * found.point)),
            (0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=colour,
        )
