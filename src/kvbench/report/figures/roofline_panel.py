"""Parts of a roofline panel: roofs with their names, points, arrows, and the room between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter
from matplotlib.transforms import Bbox

from kvbench.analysis.roofline import COUNTED, Point, companion, point, predecessors
from kvbench.records.record import Record
from kvbench.report.figures import style

SHAPES = {"prefill": "s", "decode": "o"}
INK, MAKER, WRONG = "#222222", "#777777", "#b00020"
SIDES = (((8, 0), "left"), ((-8, 0), "right"), ((0, 12), "center"), ((0, -12), "center"))
Roof = tuple[float, str, str]  # height (GB/s or GFLOP/s), name, line style


def unit(value: float, name: str) -> str:
    """`12.3 GB/s`, or the next decimal unit where that reads better."""
    big = {"GB/s": "TB/s", "GFLOP/s": "TFLOP/s"}[name]
    return f"{value / 1e3:,.3g} {big}" if value >= 1e3 else f"{value:,.3g} {name}"


def slopes(roofs: Record) -> list[Roof]:
    """Bandwidth roofs, the one that shares are counted of first."""
    way = f" ({roofs['read_by']})" if "read_by" in roofs else ""
    name = f"memory read {unit(roofs['read_gb_s'], 'GB/s')}{way}, measured"
    found = [(roofs["read_gb_s"], name, "-")]
    if "copy_gb_s" in roofs:
        name = f"memory copy {unit(roofs['copy_gb_s'], 'GB/s')}, measured"
        found.append((roofs["copy_gb_s"], name, "-."))
    if sheet := roofs.get("datasheet"):
        found.append((sheet["gb_s"], f"memory {unit(sheet['gb_s'], 'GB/s')}, datasheet", "--"))
    for cache in reversed(roofs.get("caches", [])):  # the fastest last, as the eye goes upwards
        name = f"{cache['name']} read {unit(cache['read_gb_s'], 'GB/s')}, measured"
        found.append((cache["read_gb_s"], name, ":"))
    return found


def ceilings(roofs: Record) -> list[Roof]:
    """Compute roofs, the one that shares are counted of first."""
    rate, way = roofs["gemm_gflop_s"], f" ({roofs['gemm_by']})" if "gemm_by" in roofs else ""
    found = [(rate, f"{roofs['dtype']} product {unit(rate, 'GFLOP/s')}{way}, measured", "-")]
    sheet = roofs.get("datasheet") or {}
    if rate := sheet.get("gflop_s"):
        name = f"{roofs['dtype']} dense {unit(rate, 'GFLOP/s')}, datasheet"
        found.append((rate, name, "--"))
    return found


def limits(points: Sequence[Point], roofs: Record) -> tuple[float, float, float, float]:
    """Left, right, bottom and top that hold every point, the ridge and room for names."""
    ridge = roofs["gemm_gflop_s"] / roofs["read_gb_s"]
    left = min(ridge / 30, *(p.intensity / 3 for p in points))
    right = max(ridge * 8, *(p.intensity * 2.5 for p in points))
    low = min(p.gflop_s for p in points) / 2.5
    high = 12 * max([*(c[0] for c in ceilings(roofs)), *(p.gflop_s for p in points)])
    return left, right, min(low, roofs["read_gb_s"] * left * 1.5), high


def log_axes(axes: Axes, left: float, right: float, low: float, high: float) -> None:
    """Log-log with equal decades: a bandwidth roof rises at 45 degrees."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    axes.set_aspect("equal", adjustable="box", anchor="NW")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(NullFormatter())


def name_axes(axes: Axes, roofs: Record) -> None:
    """Names and plain numbers; rates in TFLOP/s where the device is that fast."""
    axes.set_xlabel("arithmetic intensity, FLOP / byte")
    big = roofs["gemm_gflop_s"] >= 1e4
    axes.set_ylabel("TFLOP/s" if big else "GFLOP/s")
    per = 1e3 if big else 1
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{float(f'{value / per:.3g}'):,g}")
    )


def draw_roofs(axes: Axes, roofs: Record, names: bool = True) -> None:
    """Every roof up to the ridge, and a tick there; names stand above, where no point can be."""
    left, right = axes.get_xlim()
    low, _ = axes.get_ylim()
    top, beta = roofs["gemm_gflop_s"], roofs["read_gb_s"]
    sheet = roofs.get("datasheet") or {}
    stated = sheet.get("gflop_s") or top
    lines = []
    for gb_s, name, line in slopes(roofs):
        x = [left, max(left, (stated if line == "--" else top) / gb_s)]
        lines += axes.plot(x, [gb_s * v for v in x], line, label=name, **_pen(line))
    for rate, name, line in ceilings(roofs):
        x = [rate / (sheet["gb_s"] if line == "--" else beta), right]
        lines += axes.plot(x, [rate, rate], line, label=name, **_pen(line))
    ridge = top / beta
    axes.plot([ridge, ridge], [low, top], ":", color="#aaaaaa", lw=1, zorder=0.5)
    if names:
        axes.annotate(
            f"ridge {ridge:.3g} FLOP/byte",
            (ridge, low),
            (3, 4),
            textcoords="offset points",
            fontsize=8,
            color=MAKER,
        )
        axes.legend(handles=lines, loc="upper left", fontsize=8, borderaxespad=0.2)


def _pen(line: str) -> dict[str, Any]:
    colour = MAKER if line in ("--", ":") else INK
    width = {"-": 1.8, ":": 1.3}.get(line, 1.1)
    return {"color": colour, "lw": width, "zorder": 1}


def filling(p: Point, colour: Any) -> dict[str, Any]:
    """A marker full where FLOP and bytes are counted, half where one is, hollow where none is."""
    if p.flop_is == p.bytes_is:
        return {"markerfacecolor": colour if p.counted else "white"}
    half = "top" if p.flop_is == COUNTED else "right"  # FLOP go up, bytes across
    return {"fillstyle": half, "markerfacecolor": colour, "markerfacecoloralt": "white"}


def draw_points(axes: Axes, cells: Iterable[Record], roofs: Record, size: float = 8) -> None:
    """One marker per cell: colour is the version, shape the phase, the fill what was counted."""
    for cell in cells:
        p, colour = point(cell, roofs), style.look(cell["version"])[0]
        axes.plot(
            *(p.intensity, p.gflop_s, SHAPES[cell["phase"]]),
            **filling(p, colour),
            markeredgecolor=colour,
            markeredgewidth=1.8,
            markersize=size,
            zorder=4,
        )
        if p.counted:
            q = companion(cell, roofs)
            axes.plot([p.intensity, q.intensity], [p.gflop_s, q.gflop_s], ":", color=colour, lw=1)
            axes.plot(
                *(q.intensity, q.gflop_s, SHAPES[cell["phase"]]),
                markerfacecolor="white",
                markeredgecolor=colour,
                markersize=size * 0.55,
                zorder=3.8,
            )
        if p.impossible:
            axes.plot(
                p.intensity, p.gflop_s, "x", color=WRONG, markersize=size * 2, mew=2, zorder=6
            )


def draw_shares(axes: Axes, cells: Sequence[Record], roofs: Record) -> list[Any]:
    """Beside each point its share of the roof above it; returns the labels."""
    points = [(cell["version"], point(cell, roofs)) for cell in cells]
    return [
        axes.annotate(
            f"{version} {p.share:.0%}",
            (p.intensity, p.gflop_s),
            (-10, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8,
            color=WRONG if p.impossible else style.look(version)[0],
            zorder=3.6,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            annotation_clip=True,
        )
        for version, p in points
    ]


def draw_arrows(
    axes: Axes, cells: Sequence[Record], roofs: Record, least: float = 1.0
) -> list[Any]:
    """An arrow per optimisation within each phase; returns the labels: change of bytes and time.

    Arrows whose intensity changes by less than a factor `least` are left to the close-ups to label.
    """
    labels = []
    steps = predecessors(cells)
    for phase in SHAPES:
        mine = {c["version"]: point(c, roofs) for c in cells if c["phase"] == phase}
        for version, before in steps.items():
            if version not in mine or before not in mine:
                continue
            a, b, colour = mine[before], mine[version], style.look(version)[0]
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
            if max(a.intensity / b.intensity, b.intensity / a.intensity) < least:
                continue
            middle = (math.sqrt(a.intensity * b.intensity), math.sqrt(a.gflop_s * b.gflop_s))
            label = axes.annotate(
                change(a, b),
                middle,
                (8, 0),
                textcoords="offset points",
                fontsize=8,
                color=colour,
                va="center",
                zorder=3.5,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
                annotation_clip=True,
            )
            labels.append(label)
    return labels


def change(a: Point, b: Point) -> str:
    """What a step does to bytes and time: `bytes -46 %, time x0.51`; large changes as factors."""
    return ", ".join(
        f"{name} {_factor(new / old)}"
        for name, old, new in (("bytes", a.bytes, b.bytes), ("time", a.time_ms, b.time_ms))
    )


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


def few_ticks(axes: Axes) -> None:
    """A handful of plain numbers: a panel narrower than a decade may hold no power of ten."""
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        ticks = {float(f"{low * (high / low) ** (k / 5):.2g}") for k in range(1, 5)}
        axis.set_major_locator(FixedLocator(sorted(ticks)))
