"""Where the damage of a cache arises: by depth, by layer, and in what the probes still find."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kvbench.records.record import Record, by, measured
from kvbench.report.figures import style
from kvbench.report.footer import footer


def draw(records: list[Record]) -> Figure:
    """KL over depth in the window, attention error over layers, accuracy of the probes."""
    versions = style.ordered(by(records, "version"))
    whole = sorted(measured(records), key=lambda record: versions.index(record["version"]))
    figure, (depth, layer, probe) = plt.subplots(1, 3, figsize=(12.6, 4.1))
    for record in whole:
        bins = record["by_depth"]
        _line(depth, record, bins["depth"], bins["kl"], 3)
        error = record["by_layer"]["attention_error"]
        _line(layer, record, range(len(error)), error, 4)
    first = whole[0] if whole else records[0]
    depth.set_title("Divergence by depth")
    depth.set_xlabel("tokens before it in the window")
    depth.set_ylabel("KL from v1, nats a token")
    layer.set_title("Error of attention outputs by layer")
    layer.set_xlabel("layer")
    layer.set_ylabel("|cached - v1| / |v1|")
    layer.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (depth, layer):
        if axes.lines:
            axes.set_yscale("log")
        else:
            axes.text(0.5, 0.5, "no version differs", ha="center", transform=axes.transAxes)
    if whole:
        _probes(probe, whole)
    style.legend(figure, {record["version"]: record["version_description"] for record in whole})
    text = f"{first['text']}, context {first['context']}"
    figure.suptitle(f"What the cache does to {first['pretrained']} on {text}")
    equal = [record["version"] for record in whole if not record["paired"]["kl"]["mean"] > 0]
    note = f" · no difference at all, so not on log axes: {', '.join(equal)}" if equal else ""
    style.foot(figure, footer(whole) + note)
    return figure


def _line(axes: Axes, record: Record, x: Any, y: Any, size: float) -> None:
    """One version's line; zeros have no place on a log axis and are left out."""
    points = [(a, b) for a, b in zip(x, y, strict=True) if b > 0]
    if points:
        colour, marker = style.look(record["version"])
        dashes = (0, (4, 3)) if record["kv_cache_quant"] else "-"  # lines that coincide both show
        x, y = zip(*points, strict=True)
        axes.plot(x, y, marker=marker, color=colour, markersize=size, lw=1.4, ls=dashes)


def _probes(axes: Axes, whole: list[Record]) -> None:
    """Accuracy of each probe, a marker per version side by side; the line is v1's own."""
    names = list(whole[0]["probes"])
    for at, name in enumerate(names):
        plain = whole[0]["probes"][name]["accuracy_plain"]
        axes.plot([at - 0.4, at + 0.4], [100 * plain] * 2, color="#444444", linewidth=1)
        for place, record in enumerate(whole):
            colour, marker = style.look(record["version"])
            x = at + 0.7 * ((place + 0.5) / len(whole) - 0.5)
            share = 100 * record["probes"][name]["accuracy_cached"]
            axes.plot(x, share, marker, color=colour, markersize=6)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(-5, 105)
    axes.set_title("Probes (line: v1's plain forward)")
    axes.set_ylabel("right tokens, %")
