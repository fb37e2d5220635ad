"""Small multiples: a place of panels per batch, and lines that stay readable with many points."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isnan

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.report.figures import style

MANY = 4  # more places than these stand two abreast, in smaller panels
LEGEND = 2.0  # inches, right of the panels
DENSE = 16  # more points than these are a line and its band, not markers and their bars
Point = tuple[float, float, float, float]  # x, value and the ends of its interval; nan for none


def many(places: int) -> bool:
    """Whether so many places are too many for a row of full size each."""
    return places > MANY


def grid(places: int, panels: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure and, for each place, its panels in a row; `width` and `height` in inches, of one."""
    across = 2 if many(places) else 1
    if across > 1:
        width, height = 0.8 * width, 0.65 * height
    down = ceil(places / across)
    figure, lines = plt.subplots(
        down,
        across * panels,
        squeeze=False,
        figsize=(LEGEND + width * across * panels, height * down),
    )
    cut = [list(line[k * panels : (k + 1) * panels]) for line in lines for k in range(across)]
    for unused in cut[places:]:
        for axes in unused:
            axes.set_axis_off()
    return figure, cut[:places]


def corner(rows: Sequence[Sequence[Axes]]) -> Axes:
    """The panel at the upper right, whose legend stands for all."""
    return rows[1 if many(len(rows)) else 0][-1]


def line(axes: Axes, version: str, points: Sequence[Point]) -> None:
    """A version's line; a point without an interval is one sample, and hollow."""
    if not points:
        return
    colour, marker = style.look(version)
    x, middle, low, high = (list(column) for column in zip(*sorted(points), strict=True))
    if len(x) > DENSE:
        axes.plot(
            x, middle, color=colour, marker=marker, markersize=4, markevery=0.15, linewidth=1.2
        )
        axes.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
        return
    below = [max(0.0, m - end) for m, end in zip(middle, low, strict=True)]
    above = [max(0.0, end - m) for m, end in zip(middle, high, strict=True)]
    axes.errorbar(x, middle, yerr=[below, above], color=colour, linewidth=1.6, capsize=2.5)
    for at, value, end in zip(x, middle, low, strict=True):
        fill = style.face(version, isnan(end))
        axes.plot(at, value, marker, color=colour, markerfacecolor=fill, markersize=5.5, zorder=3)


def hollow(points: Sequence[Point]) -> str:
    """What the foot says where a point has no interval; nothing where all have."""
    return style.HOLLOW if any(isnan(point[2]) for point in points) else ""
