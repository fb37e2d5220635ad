"""Time, bytes and quality together: what each version pays for what it saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kvbench.records.record import Record, by, measured
from kvbench.report.figures import style
from kvbench.report.footer import footer

LEAST = 0.1  # per cent of perplexity: the quality axis is linear below it
AXES = {
    "bytes": "cache, kB per token",
    "time": "ms per token",
    "quality": "change of perplexity against v1, %",
}
PANELS = (("bytes", "time"), ("bytes", "quality"), ("time", "quality"))


@dataclass(frozen=True)
class Value:
    """One number of one version, with the ends of its interval."""

    at: float
    low: float
    high: float


Points = dict[str, dict[str, Value]]  # version -> axis -> value


def draw(records: list[Record]) -> Figure:
    """Time, bytes and quality, two at a time; a filled marker is on the front of all three.

    Time is of the largest T and the smallest batch measured. What was not measured has no panel,
    and the foot says why.
    """
    named = by(measured(records), "benchmark_name")
    timed, scored = named.get("latency_vs_T", []), named.get("perplexity", [])
    batch = min((c["batch_size"] for c in timed), default=0)
    T = max((c["T"] for c in timed), default=0)
    timed = [c for c in timed if (c["batch_size"], c["T"]) == (batch, T)]
    points = values(timed, scored)
    preset = records[0]["pretrained"]
    lacking = {}
    if not timed:
        lacking["time"] = f"no time: {preset} is not in `pretrained`"
        points = {v: point for v, point in points.items() if point["bytes"].at}  # v0 pays in time
    if not scored:
        weights = timed[0]["weights"] if timed else "unknown"
        lacking["quality"] = f"no quality: {weights} weights have none to lose"
    best = front(points, [name for name in AXES if name not in lacking])
    pairs = [pair for pair in PANELS if not set(pair) & set(lacking)]
    n = max(1, len(pairs))
    figure, panels = plt.subplots(1, n, figsize=(3.2 + 3.3 * n, 4.4), squeeze=False)
    for axes, (x, y) in zip(panels[0], pairs, strict=False):
        axes.set_title(f"{y.capitalize()} against {x}")
        _panel(axes, points, x, y, best)
    described = {c["version"]: c["version_description"] for c in [*timed, *scored]}
    described = {version: text for version, text in described.items() if version in points}
    style.legend(figure, described)
    at = f", T = {T}, batch {batch}" if timed else ""
    figure.suptitle(f"What {preset}'s cache costs and saves{at}")
    filled = "filled: on the front of all axes" if not lacking else "; ".join(lacking.values())
    style.foot(
        figure,
        f"{footer(timed or scored)} · down and left is better · boxes: 95 % intervals · "
        f"line: front of the two axes · {filled}",
    )
    return figure


def values(timed: list[Record], scored: list[Record]) -> Points:
    """Each version's time, bytes and quality, of those that were measured."""
    points: Points = {}
    for cell in timed:
        ends = [cell["time_total_ms_interval"][end] for end in ("low", "high")]
        ms = cell["time_per_token_ms_median"]
        points[cell["version"]] = {
            "time": Value(ms, *(ms if end is None else end / cell["T"] for end in ends))
        }
    for cell in scored:
        ratio = cell["paired"]["perplexity_ratio"]
        ends = [ratio["ratio"] if ratio[end] is None else ratio[end] for end in ("low", "high")]
        change = Value(*(100 * (value - 1) for value in (ratio["ratio"], *ends)))
        points.setdefault(cell["version"], {})["quality"] = change
    for cell in [*timed, *scored]:
        kb = cell["cache_bytes_per_token"] / 1e3
        points[cell["version"]]["bytes"] = Value(kb, kb, kb)
    return points


def front(points: Points, names: Sequence[str]) -> list[str]:
    """The versions that no other beats: none is as good in all `names` and better in one.

    A difference inside either interval is no difference, so that noise beats nobody.
    """

    def beats(a: dict[str, Value], b: dict[str, Value]) -> bool:
        better = any(a[name].high < b[name].low for name in names)
        return better and all(a[name].at <= b[name].high for name in names)

    whole = {v: point for v, point in points.items() if all(name in point for name in names)}
    return [v for v, b in whole.items() if not any(beats(a, b) for a in whole.values())]


def _panel(axes: Axes, points: Points, x: str, y: str, best: Sequence[str]) -> None:
    """One pair of axes: a box, a marker per version, and the staircase of the pair's own front."""
    shown = {v: point for v, point in points.items() if x in point and y in point}
    for version, point in shown.items():
        colour, marker = style.look(version)
        a, b = point[x], point[y]
        box = Rectangle((a.low, b.low), a.high - a.low, b.high - b.low)
        box.set(facecolor=colour, edgecolor=colour, alpha=0.25, linewidth=1.5)
        axes.add_patch(box)
        face = colour if version in best else "white"
        axes.plot(a.at, b.at, marker, color=colour, markerfacecolor=face, markersize=8)
    if y == "quality":
        axes.set_yscale("symlog", linthresh=LEAST)  # a rounding and a collapse on one axis
        axes.axhline(0, color="#444444", linewidth=0.8)
    stored = {v: point for v, point in shown.items() if point["bytes"].at or "time" in (x, y)}
    stairs = sorted((shown[v][x].at, shown[v][y].at) for v in front(stored, (x, y)))
    axes.step(*zip(*stairs, strict=True), where="post", color="#444444", lw=0.9, ls="--", zorder=0)
    axes.set_xlabel(AXES[x])
    axes.set_ylabel(AXES[y])
    axes.margins(0.15)
    if x == "bytes":
        axes.set_xlim(left=-0.06 * axes.get_xlim()[1])
