"""The versions beside other runners of the same weights: time per generated token."""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.records.record import Record, by, is_error, measured
from kvbench.report.figures import style
from kvbench.report.footer import footer
from kvbench.report.selection import evenly_spaced, shown_of

PEER = "#444444"
MOST = 4  # batches, and lengths, that are drawn


def draw(records: list[Record]) -> Figure:
    """A row per runner, a panel per batch and T; what is not installed says so."""
    panels = by(records, "batch_size", "T")
    every = [{key[axis] for key in panels} for axis in (0, 1)]
    batches, lengths = (evenly_spaced(values, MOST) for values in every)
    runners = _runners(records)
    figure, grid = plt.subplots(
        len(batches),
        len(lengths),
        squeeze=False,
        sharey=True,
        figsize=(2.2 + 4.0 * len(lengths), 1.3 + 0.32 * len(runners) * len(batches)),
    )
    for batch, row in zip(batches, grid, strict=True):
        for T, axes in zip(lengths, row, strict=True):
            _panel(axes, panels.get((batch, T), []), runners)
            axes.set_title(f"Batch {batch}, T = {T}")
            axes.set_xlabel("ms per generated token (whole time / T)")
    figure.suptitle(f"Runners of {records[0]['pretrained']}, prompt {records[0]['prompt_length']}")
    libraries = sorted({r["peer_library"] for r in records if "peer_library" in r})
    parts = [footer(records), *libraries, "bars: 95 % intervals over processes"]
    parts += [
        shown_of(len(batches), len(every[0]), "batches"),
        shown_of(len(lengths), len(every[1]), "T"),
    ]
    style.foot(figure, " · ".join(filter(None, parts)))
    return figure


def _runners(records: list[Record]) -> dict[str, str]:
    """Every runner and what its row is called: the versions, then the peers."""
    about = {record["version"]: record.get("version_description", "") for record in records}
    versions = style.ordered(v for v in about if v[0] == "v" and v[1:].isdigit())
    peers = [name for name in about if name not in versions]
    return {v: style.label(v, about[v]) for v in versions} | {name: name for name in peers}


def _panel(axes: Axes, cells: list[Record], runners: dict[str, str]) -> None:
    places = {name: place for place, name in enumerate(runners)}
    for cell in cells:
        y = places[cell["version"]]
        if is_error(cell):
            axes.text(0.02, y, cell["error"], transform=axes.get_yaxis_transform(), va="center")
            continue
        T, ends = cell["T"], cell["time_total_ms_interval"]
        middle = cell["time_total_ms_median"] / T
        low, high = ((end or middle * T) / T for end in (ends["low"], ends["high"]))
        ours = "peer_library" not in cell
        colour, marker = style.look(cell["version"]) if ours else (PEER, "o")
        axes.errorbar(
            [middle],
            [y],
            xerr=[[max(0.0, middle - low)], [max(0.0, high - middle)]],
            color=colour,
            marker=marker,
            markersize=6,
            markerfacecolor=colour if ours else "white",
            capsize=2.5,
        )
        said = f"{middle:.3g}" + ("" if cell.get("tokens_equal", True) else " (other tokens)")
        axes.annotate(said, (high, y), xytext=(6, 0), textcoords="offset points", va="center")
    whole = measured(cells)
    v1 = [c["time_total_ms_median"] / c["T"] for c in whole if c["version"] == "v1"]
    for x in v1:
        axes.axvline(x, color=style.look("v1")[0], linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    if whole:
        times = [c["time_total_ms_median"] / c["T"] for c in whole]
        axes.set_xlim(min(times) / 1.35, max(times) * 1.8)
    _plain_ticks(axes)
    axes.set_yticks(list(places.values()), list(runners.values()))
    axes.set_ylim(len(places) - 0.4, -0.6)


def _plain_ticks(axes: Axes) -> None:
    axes.xaxis.set_major_locator(style.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(style.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(style.NullFormatter())
