"""Time, bytes and quality together: what each version pays for what it saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kvbench.analysis import findings
from kvbench.records.record import Record, by, measured
from kvbench.report.figures import scales, style
from kvbench.report.footer import footer
from kvbench.stats.digits import short, spoken

AXES = {
    "bytes": "cache, kB per token",
    "time": "ms per token",
    "quality": "change of perplexity, %",
}
PANELS = (("bytes", "time"), ("bytes", "quality"), ("time", "quality"))


@dataclass(frozen=True)
class Value:
    """One number of one version, with the ends of its interval; of one sample they are its own."""

    at: float
    low: float
    high: float
    one_sample: bool = False


Points = dict[str, dict[str, Value]]  # version -> axis -> value


def draw(records: list[Record]) -> Figure:
    """Time, bytes and quality, two at a time; an edged marker is on the front of all of them.

    Time is of the largest T and the smallest batch measured. What was not measured has no panel,
    and the foot says which key asks for it.
    """
    named = by(measured(records), "benchmark_name")
    timed, scored = named.get("latency_vs_T", []), named.get("perplexity", [])
    batch = min((c["batch_size"] for c in timed), default=0)
    T = max((c["T"] for c in timed), default=0)
    timed = [c for c in timed if (c["batch_size"], c["T"]) == (batch, T)]
    points = values(timed, scored)
    preset = records[0]["pretrained"]
    question = f"What does each cache of {preset} cost, and what does it save?"
    lacking = {}
    if not timed:
        lacking["time"] = f"no time: add {preset} to the key `pretrained`"
        points = {v: point for v, point in points.items() if point["bytes"].at}  # v0 pays in time
    if not scored:
        weights = timed[0]["weights"] if timed else "unknown"
        lacking["quality"] = (
            f"no quality: {weights} weights have none to lose; the key `weights` names others"
        )
    pairs = [pair for pair in PANELS if not set(pair) & set(lacking)]
    if len(points) < 2 or not pairs:
        why = "; ".join(lacking.values()) or f"{len(points)} cache measured"
        return style.explained(question, why, records)
    axes_of = [name for name in AXES if name not in lacking]
    best = front(points, axes_of)
    n = len(pairs)
    figure, panels = plt.subplots(
        1, n, figsize=(2.0 + 3.1 * max(2, n), style.tall(len(points), 3.3)), squeeze=False
    )
    for axes, (x, y) in zip(panels[0], pairs, strict=True):
        axes.set_title(f"{y} against {x}")
        _panel(axes, points, x, y, best)
    labels = {v: label for v, label in style.labels([*timed, *scored]).items() if v in points}
    style.legend(panels[0][-1], labels)
    foot = [f"T = {T}, batch {batch}"] if timed else []
    foot += ["down and left is better", "boxes: 95 % intervals", "bytes are counted"]
    foot += ["black edge: on the front of all axes", "dashed: front of the two axes"]
    if any(value.one_sample for point in points.values() for value in point.values()):
        foot += [style.HOLLOW]
    foot += [*lacking.values(), footer(timed or scored)]
    whole = [v for v, point in points.items() if all(name in point for name in axes_of)]
    answer = f"No other beats {findings.joined(_said(points[v], labels[v]) for v in best)}"
    beaten = [labels[v] for v in whole if v not in best]
    answer += f"; beaten: {', '.join(beaten)}" if beaten else ""
    style.frame(figure, question, answer, foot)
    return figure


def _said(point: dict[str, Value], name: str) -> str:
    """A version and what it costs, in the order of the axes."""
    numbers = [f"{short(point['bytes'].at)} kB"]
    for axis, unit in (("time", "ms"), ("quality", "%")):
        if axis in point:
            value = point[axis]
            low, high = (None if value.one_sample else end for end in (value.low, value.high))
            text = spoken(value.at, low, high, sign=axis == "quality")
            numbers.append(f"{text} {unit}")
    return f"{name} with {', '.join(numbers)}"


def values(timed: list[Record], scored: list[Record]) -> Points:
    """Each version's time, bytes and quality, of those that were measured."""
    points: Points = {}
    for cell in timed:
        low, high = (cell["time_total_ms_interval"][end] for end in ("low", "high"))
        ms = cell["time_per_token_ms_median"]
        time = Value(ms, ms, ms, one_sample=True)
        if low is not None:
            time = Value(ms, low / cell["T"], high / cell["T"])
        points[cell["version"]] = {"time": time}
    for cell in scored:
        ratio = cell["paired"]["perplexity_ratio"]
        ends = (ratio["ratio"] if ratio[end] is None else ratio[end] for end in ("low", "high"))
        at, low, high = (100 * (value - 1) for value in (ratio["ratio"], *ends))
        change = Value(at, low, high, one_sample=ratio["low"] is None)
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
        alone = a.one_sample or b.one_sample
        axes.plot(
            *(a.at, b.at, marker),
            color=style.face(version, alone),
            markeredgecolor="black" if version in best else colour,
            markeredgewidth=1.4,
            markersize=8,
        )
    stored = {v: point for v, point in shown.items() if point["bytes"].at or "time" in (x, y)}
    stairs = sorted((shown[v][x].at, shown[v][y].at) for v in front(stored, (x, y)))
    axes.step(*zip(*stairs, strict=True), where="post", color="#444444", lw=0.9, ls="--", zorder=0)
    axes.margins(0.15)
    for name, what in (("x", x), ("y", y)):
        reached = [value for point in shown.values() for value in _reached(point[what])]
        if what == "quality":
            scales.around_zero(axes, name, reached, AXES[what])
            (axes.axhline if name == "y" else axes.axvline)(0, color="#444444", linewidth=0.8)
        else:
            scales.fit(axes, name, reached, AXES[what], from_zero=True)


def _reached(value: Value) -> tuple[float, float]:
    return value.low, value.high
