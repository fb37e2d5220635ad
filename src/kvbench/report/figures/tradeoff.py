"""Time, bytes and quality together: what each version pays for what it saves."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kvbench.analysis import findings
from kvbench.analysis.gate_table import asked, said
from kvbench.analysis.gates import gates_of
from kvbench.analysis.tradeoff import AXES as EVERY
from kvbench.analysis.tradeoff import Points, Value, front, joined, values
from kvbench.records.record import Record
from kvbench.report.figures import scales, style
from kvbench.report.footer import footer
from kvbench.stats.digits import short, spoken

AXES = {
    "bytes": "cache, kB per token",
    "time": "ms per token",
    "quality": "change of perplexity, %",
}
PANELS = (("bytes", "time"), ("bytes", "quality"), ("time", "quality"))


def draw(records: list[Record]) -> Figure:
    """Time, bytes and quality, two at a time; an edged marker is on the front of all of them.

    Time is that of decode steps at the largest batch and depth, where these were measured, else of
    generations at the largest T and the smallest batch. What was not measured has no panel, and the
    foot says which key asks for it.
    """
    cells = joined(records)
    timed, scored = cells.stepped or cells.timed, cells.scored
    points = values(cells)
    preset = records[0]["pretrained"]
    gates = gates_of(records, preset)
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
    shown = [name for name in EVERY if name not in lacking]
    axes_of = [name for name in shown if sum(name in point for point in points.values()) > 1]
    best = front(points, axes_of)
    n = len(pairs)
    figure, panels = plt.subplots(
        1, n, figsize=(2.0 + 3.1 * max(2, n), style.tall(len(points), 3.3)), squeeze=False
    )
    for axes, (x, y) in zip(panels[0], pairs, strict=True):
        axes.set_title(f"{y} against {x}")
        _panel(axes, points, x, y, best)
    named = style.labels([*cells.timed, *timed, *scored])
    labels = {v: label for v, label in named.items() if v in points}
    style.legend(panels[0][-1], labels)
    foot = [cells.place] if timed else []
    foot += ["down and left is better", "boxes: 95 % intervals", "bytes are counted"]
    foot += ["black edge: on the front of all axes", "dashed: front of the two axes"]
    if any(value.one_sample for point in points.values() for value in point.values()):
        foot += [style.HOLLOW]
    foot += [f"gates: {asked(gates)}"] if gates and asked(gates) else []
    foot += [*lacking.values(), footer(timed or scored)]
    whole = [v for v, point in points.items() if all(name in point for name in axes_of)]
    sentences = (_said(points[v], labels[v], said(gates, v)) for v in best)
    answer = f"No other beats {findings.joined(sentences)}"
    beaten = [labels[v] for v in whole if v not in best]
    answer += f"; beaten: {', '.join(beaten)}" if beaten else ""
    style.frame(figure, question, answer, foot)
    return figure


def _said(point: dict[str, Value], name: str, gate: str) -> str:
    """A version and what it costs, in the order of the axes."""
    numbers = [f"{short(point['bytes'].at)} kB"]
    for axis, unit in (("time", "ms"), ("quality", "%")):
        if axis in point:
            value = point[axis]
            low, high = (None if value.one_sample else end for end in (value.low, value.high))
            text = spoken(value.at, low, high, sign=axis == "quality")
            numbers.append(f"{text} {unit}")
    numbers += [gate] if gate else []
    return f"{name} with {', '.join(numbers)}"


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
