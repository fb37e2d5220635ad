"""Small multiples: a place of panels per batch, and lines that stay readable with many points."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.report.figures import style

MANY = 4  # more places than these stand two abreast, in smaller panels
DENSE = 16  # more points than these are a line and its band, not markers and their bars


def many(places: int) -> bool:
    """Whether so many places are too many for a row of full size each."""
    return places > MANY


def grid(
    places: int, panels: int, width: float, height: float, margin: float = 2.2
) -> tuple[Figure, list[list[Axes]]]:
    """A figure and, for each place, its panels in a row; `width` and `height` in inches, of one.

    `margin` is the width right of the panels, for a legend.
    """
    across = 2 if many(places) else 1
    if across > 1:
        width, height = 0.8 * width, 0.65 * height
    down = ceil(places / across)
    figure, lines = plt.subplots(
        down,
        across * panels,
        squeeze=False,
        figsize=(margin + width * across * panels, 0.9 + height * down),
    )
    cut = [list(line[k * panels : (k + 1) * panels]) for line in lines for k in range(across)]
    for unused in cut[places:]:
        for axes in unused:
            axes.set_axis_off()
    return figure, cut[:places]


def line(
    axes: Axes,
    version: str,
    x: Sequence[float],
    middle: Sequence[float],
    below: Sequence[float],
    above: Sequence[float],
) -> None:
    """A version's line; `below` and `above` are the distances to the ends of its intervals."""
    colour, marker = style.look(version)
    if len(x) <= DENSE:
        axes.errorbar(
            x,
            middle,
            yerr=[below, above],
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.6,
            capsize=2.5,
        )
        return
    axes.plot(x, middle, color=colour, marker=marker, markersize=4, markevery=0.15, linewidth=1.2)
    low = [m - d for m, d in zip(middle, below, strict=True)]
    high = [m + d for m, d in zip(middle, above, strict=True)]
    axes.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
