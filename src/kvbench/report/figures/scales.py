"""Axes of numbers: linear where values allow it, a log scale that says so, four ticks at least."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, MaxNLocator, NullLocator

from kvbench.report.selection import doublings

SPAN = 20  # values further apart than this factor stand on a log scale
ROOM = 1.8  # an axis ends at this factor beyond its outermost value; a bar without a cap goes on
LEAST, MOST = 4, 8  # ticks of an axis
APART = 0.09  # of an axis' length: ticks that are closer would overlap
LOG = " (log scale)"
NEAR = 0.01  # per cent: no log scale of changes is finer


class LogTicks(Locator):
    """Round numbers on a log axis, as few as there may be, wherever its view begins and ends."""

    def __call__(self) -> Sequence[float]:
        """The ticks of the axis as it is seen."""
        return self.tick_values(*self.axis.get_view_interval())  # type: ignore[union-attr]

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Powers of ten where enough are in view, else more numbers between them."""
        low, high = sorted((vmin, vmax))
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
            every = [digit * 10.0**power for power in powers for digit in digits]
            ticks = [tick for tick in every if low <= tick <= high]
            if len(ticks) >= LEAST:
                return ticks[:: math.ceil(len(ticks) / MOST)]
        return [tick for tick in linear().tick_values(low, high) if tick > 0]


def linear(integer: bool = False) -> MaxNLocator:
    """Ticks of a linear axis."""
    return MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], min_n_ticks=LEAST, integer=integer)


def plain(value: float, _: object = None) -> str:
    """The number at a tick of a log axis: no power of ten, and thousands are marked."""
    return f"{value + 0.0:,.10g}"


def far_apart(values: Iterable[float]) -> bool:
    """Whether values are positive and too far apart for a linear scale."""
    found = sorted(values)
    return bool(found) and found[0] > 0 and found[-1] > SPAN * found[0]


def fit(
    axes: Axes, name: str, values: Iterable[float], label: str, from_zero: bool = False
) -> None:
    """Scale, limits, ticks and label of the axis `name` (`x` or `y`), for what is drawn on it.

    `values` are those to be read from it; an interval of few noisy processes that reaches beyond
    ROOM times them is cut off, as it may span decades. `from_zero`: a linear axis begins at 0.
    """
    found = sorted(value for value in values if math.isfinite(value))
    axis = {"x": axes.xaxis, "y": axes.yaxis}[name]
    log = far_apart(found)
    if log:
        axes.set(**{f"{name}scale": "log"})
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(plain))
    axis.set_major_locator(LogTicks() if log else linear())
    axis.set_label_text(label + (LOG if log else ""))
    if not found:
        return
    low, high = axis.get_view_interval()
    if found[0] > 0:
        low, high = max(low, found[0] / ROOM), min(high, found[-1] * ROOM)
    if from_zero and not log:
        low = min(0.0, low) if found[0] < 0 else 0.0
    axes.set(**{f"{name}lim": (low, high)})


def around_zero(axes: Axes, name: str, values: Iterable[float], label: str) -> None:
    """An axis of changes in per cent: linear, or on a log scale but for the smallest of them.

    A rounding and a collapse then stand on one axis; the label says up to where it is linear.
    """
    found = sorted(values)
    sizes = sorted({abs(value) for value in found if abs(value) >= NEAR}) or [1.0]
    axis = {"x": axes.xaxis, "y": axes.yaxis}[name]
    if not far_apart(sizes):
        axis.set_major_locator(linear())
        axis.set_label_text(label)
        axes.set(**{f"{name}lim": (min(found[0], 0) - sizes[-1] / 8, found[-1] + sizes[-1] / 8)})
        return
    near = 10.0 ** min(0, math.floor(math.log10(sizes[0])))
    most, least = max(found[-1], near), min(found[0], -near)
    getattr(axes, f"set_{name}scale")("symlog", linthresh=near)
    axes.set(**{f"{name}lim": (3 * least, 3 * most)})
    ticks = [-tick for tick in _powers(near, -least)] + [0] + _powers(near, most)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(plain))
    space = " " if name == "x" else "\n"
    axis.set_label_text(f"{label}{space}(log scale beyond ±{plain(near)} %)")


def _powers(near: float, most: float) -> list[float]:
    powers = range(round(math.log10(near)), math.floor(math.log10(3 * most)) + 1)
    return [10.0**power for power in powers[:: math.ceil(len(powers) / 4)]]


def lengths(axes: Axes, values: Iterable[int], label: str = "T, tokens generated") -> None:
    """A horizontal axis of lengths in tokens: ticks at the measured ones, and round ones between.

    Many of them have round ticks alone, on a log scale those next to the powers of two.
    """
    measured = sorted(set(values))
    log = far_apart(measured)
    if measured[-1] - measured[0] < LEAST:  # too few whole numbers lie between
        axes.set_xlim(max(0, measured[0] - LEAST), measured[-1] + LEAST)
    if log:
        axes.set_xscale("log", base=2)
    low, high = axes.get_xlim()
    if log:
        between = [2.0**k for k in range(math.floor(math.log2(low)), math.ceil(math.log2(high)))]
        ticks = doublings(measured) if len(measured) > MOST else measured
    else:
        between = list(linear(integer=True).tick_values(low, high))
        ticks = [] if len(measured) > MOST else measured
    place = np.log2 if log else np.asarray
    shown = _apart([], reversed(ticks), place, APART * float(place(high) - place(low)))
    if len(shown) < LEAST:
        inside = (tick for tick in between if low <= tick <= high)
        shown = _apart(shown, inside, place, APART * float(place(high) - place(low)))
    axes.xaxis.set_major_locator(FixedLocator(sorted(shown)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(plain))
    axes.set_xlabel(label + (LOG if log else ""))


def _apart(
    shown: Iterable[float], more: Iterable[float], place: Callable[[Any], Any], gap: float
) -> list[float]:
    """The ticks, with those of `more` that stand clear of all before them."""
    kept = list(shown)
    for tick in more:
        if all(abs(place(tick) - place(other)) >= gap for other in kept):
            kept.append(tick)
    return kept
