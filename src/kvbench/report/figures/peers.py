"""The versions beside other runners of the same weights: time per generated token."""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.analysis import findings
from kvbench.analysis.runners import peer_rows
from kvbench.records.record import Record, by, is_error, measured
from kvbench.report.figures import scales, style
from kvbench.report.footer import footer
from kvbench.report.selection import evenly_spaced, shown_of

PEER = "#444444"
MOST = 4  # batches, and lengths, that are drawn


def draw(records: list[Record]) -> Figure:
    """A row per runner, a panel per batch and T; what is not installed says so."""
    first, whole = records[0], measured(records)
    question = f"How fast are other runners of {first['pretrained']}?"
    if len(whole) < 2:
        return style.explained(question, f"{len(whole)} of {len(records)} cells measured", records)
    panels = by(records, "batch_size", "T")
    every = [{key[axis] for key in panels} for axis in (0, 1)]
    batches, lengths = (evenly_spaced(values, MOST) for values in every)
    runners = _runners(records)
    figure, grid = plt.subplots(
        len(batches),
        len(lengths),
        squeeze=False,
        sharey=True,
        figsize=(2.2 + 4.6 * len(lengths), 0.8 + 0.32 * len(runners) * len(batches)),
    )
    for batch, row in zip(batches, grid, strict=True):
        for T, axes in zip(lengths, row, strict=True):
            _panel(axes, panels.get((batch, T), []), runners)
            axes.set_title(f"batch {batch}, T = {T}")
    libraries = sorted({r["peer_library"] for r in records if "peer_library" in r})
    foot = [*libraries, "ms per token: whole time / T", "bars: 95 % intervals over processes"]
    if any(cell["time_total_ms_interval"]["low"] is None for cell in whole):
        foot += [style.HOLLOW]
    foot += ["grey: not of kvbench", f"prompt {first['prompt_length']}"]
    foot += [
        shown_of(len(batches), len(every[0]), "batches"),
        shown_of(len(lengths), len(every[1]), "T"),
    ]
    answer = findings.runners(peer_rows(records), runners)
    style.frame(figure, question, answer, [*foot, footer(records)])
    return figure


def _runners(records: list[Record]) -> dict[str, str]:
    """Every runner and what its row is called: the versions, then the peers."""
    named = style.labels(records)
    peers = {record["version"] for record in records if "cache" not in record}
    return {name: named[name] for name in sorted(named, key=lambda name: name in peers)}


def _panel(axes: Axes, cells: list[Record], runners: dict[str, str]) -> None:
    places = {name: place for place, name in enumerate(runners)}
    times = []
    for cell in cells:
        y = places[cell["version"]]
        if is_error(cell):
            axes.text(0.02, y, cell["error"], transform=axes.get_yaxis_transform(), va="center")
            continue
        T, ends = cell["T"], cell["time_total_ms_interval"]
        middle = cell["time_total_ms_median"] / T
        low, high = ((end or middle * T) / T for end in (ends["low"], ends["high"]))
        times.append(middle)
        ours = "peer_library" not in cell
        colour, marker = style.look(cell["version"]) if ours else (PEER, "o")
        fill = "white" if ends["low"] is None else colour
        look = {"color": colour, "marker": marker, "markersize": 6, "markerfacecolor": fill}
        style.interval(axes, (middle, y), "x", (low, high), **look)
        said = f"{middle:.3g}" + ("" if cell.get("tokens_equal", True) else " (other tokens)")
        axes.annotate(said, (high, y), xytext=(6, 0), textcoords="offset points", va="center")
        if cell["version"] == "v1":
            axes.axvline(middle, color=colour, linewidth=0.8, zorder=0)
    scales.fit(axes, "x", times, "ms per generated token", from_zero=True)
    axes.set_xlim(right=axes.get_xlim()[1] * 1.15)  # room for the last number
    axes.set_yticks(list(places.values()), list(runners.values()))
    axes.set_ylim(len(places) - 0.4, -0.6)
