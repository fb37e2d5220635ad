"""What stands beside the points of a roofline: shares, and arrows from step to step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from kvbench.analysis.findings import time_change
from kvbench.analysis.roofline import Point, point, predecessors
from kvbench.records.record import Record
from kvbench.report.figures import style
from kvbench.report.figures.roofline_panel import SHAPES, WRONG

LONG = 4.0  # factor of intensity from which an arrow has room for a label
SIDES = [  # offsets in points and alignments, the nearest first
    (((sign * 9 * far, up * far), {1: "left", -1: "right", 0: "center"}[sign]))
    for far in (1, 2)
    for sign, up in ((1, 0), (-1, 0), (0, 13), (0, -13), (1, 11), (-1, 11), (1, -11), (-1, -11))
]


def draw_shares(axes: Axes, cells: Sequence[Record], roofs: Record) -> list[Any]:
    """Beside each point its share of the roof above it; returns the labels."""
    labels = []
    for cell in cells:
        p = point(cell, roofs)
        colour = WRONG if p.impossible else style.look(cell["version"])[0]
        text = f"{cell['version']} {p.share:.0%}".replace("%", " %")
        labels.append(_label(axes, text, (p.intensity, p.gflop_s), colour))
    return labels


def draw_arrows(axes: Axes, cells: Sequence[Record], roofs: Record) -> list[Any]:
    """An arrow per optimisation within each phase; returns the labels: change of bytes and time.

    A short arrow, whose intensity changes by less than a factor LONG, has its words in the key.
    """
    labels = []
    steps = predecessors(cells)
    for phase in SHAPES:
        mine = {c["version"]: c for c in cells if c["phase"] == phase}
        for version, before in steps.items():
            if version not in mine or before not in mine:
                continue
            a, b = (point(mine[v], roofs) for v in (before, version))
            colour = style.look(version)[0]
            axes.annotate(
                "",
                (b.intensity, b.gflop_s),
                (a.intensity, a.gflop_s),
                arrowprops={
                    **{"arrowstyle": "-|>", "color": colour, "lw": 1.2, "alpha": 0.8},
                    **{"shrinkA": 5, "shrinkB": 5},
                },
                zorder=3,
            )
            if max(a.intensity / b.intensity, b.intensity / a.intensity) < LONG:
                continue
            middle = (math.sqrt(a.intensity * b.intensity), math.sqrt(a.gflop_s * b.gflop_s))
            text = change(mine[before], mine[version], roofs)
            labels.append(_label(axes, text, middle, colour))
    return labels


def _label(axes: Axes, text: str, at: tuple[float, float], colour: str) -> Any:
    return axes.annotate(
        text,
        at,
        SIDES[0][0],
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=colour,
        zorder=3.6,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
        annotation_clip=True,
    )


def change(before: Record, after: Record, roofs: Record) -> str:
    """What a step does to bytes and time: `bytes -46 %, time x0.51`; large changes as factors.

    A time that nothing tells from the other's is not distinguished from it.
    """
    a, b, ratio = point(before, roofs), point(after, roofs), time_change(before, after)
    said = "time not distinguished" if ratio is None else f"time {_factor(ratio)}"
    return f"bytes {_factor(b.bytes / a.bytes)}, {said}"


def _factor(ratio: float) -> str:
    if abs(ratio - 1) < 0.005:
        return "\N{PLUS-MINUS SIGN}0 %"
    if 0.5 < ratio < 2:
        return f"{100 * (ratio - 1):+.0f} %".replace("-", "\N{MINUS SIGN}")
    return f"\N{MULTIPLICATION SIGN}{ratio:.2g}"


def settle(axes: Axes, labels: Sequence[Any], kept: Sequence[Point]) -> None:
    """Move each label to a side where it covers nothing, or drop it. Needs the final layout."""
    inside = axes.get_window_extent()
    marks = [axes.transData.transform((p.intensity, p.gflop_s)) for p in kept]
    boxes = [Bbox.from_bounds(x - 9, y - 9, 18, 18) for x, y in marks]
    others: list[Any] = [text for text in axes.texts if text.get_text() and text not in labels]
    others += [axes.legend_] if axes.legend_ else []
    boxes += [other.get_window_extent() for other in others]
    for label in labels:
        for offset, side in SIDES:
            label.set_position(offset)
            label.set_ha(side)
            box = label.get_window_extent()
            within = inside.containsx(box.x0) and inside.containsx(box.x1)
            within = within and inside.containsy(box.y0) and inside.containsy(box.y1)
            if within and not any(box.overlaps(other) for other in boxes):
                boxes.append(box)
                break
        else:
            label.remove()
