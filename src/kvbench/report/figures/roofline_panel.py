"""A roofline panel: its axes, the roofs with their names, and the points under them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from kvbench.analysis.findings import kernel_times
from kvbench.analysis.roofline import COUNTED, Point, companion, point
from kvbench.records.record import Record
from kvbench.report.figures import scales, style

SHAPES = {"prefill": "s", "decode": "o"}
INK, MAKER, WRONG = "#222222", "#777777", "#b00020"
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


def limits(
    points: Sequence[Point], ys: Sequence[float], roofs: Record
) -> tuple[float, float, float, float]:
    """Left, right, bottom and top that hold points, ends of bars `ys`, ridge and room for names."""
    ridge = roofs["gemm_gflop_s"] / roofs["read_gb_s"]
    left = min(ridge / 30, *(p.intensity / 3 for p in points))
    right = max(ridge * 8, *(p.intensity * 2.5 for p in points))
    low = min(min(p.gflop_s for p in points) / 2.5, min(ys) / 1.2)
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
        axis.set_major_locator(scales.LogTicks())
        axis.set_major_formatter(FuncFormatter(scales.plain))
        axis.set_minor_locator(NullLocator())


def name_axes(axes: Axes, roofs: Record) -> None:
    """Names and plain numbers; rates in TFLOP/s where the device is that fast."""
    axes.set_xlabel("arithmetic intensity, FLOP / byte" + scales.LOG)
    big = roofs["gemm_gflop_s"] >= 1e4
    axes.set_ylabel(("TFLOP/s" if big else "GFLOP/s") + scales.LOG)
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


def rates(cell: Record, p: Point) -> list[float]:
    """GFLOP/s at both ends of its time's interval; the point's own where it has none."""
    ms = kernel_times(cell)
    if ms.low is None or ms.high is None:
        return [p.gflop_s]
    return [p.gflop_s * p.time_ms / end for end in (ms.high, ms.low)]


def draw_points(axes: Axes, cells: Iterable[Record], roofs: Record, size: float = 8) -> None:
    """One marker per cell: colour is the version, shape the phase, the fill what was counted."""
    for cell in cells:
        p, colour = point(cell, roofs), style.look(cell["version"])[0]
        if len(ends := rates(cell, p)) > 1:
            axes.plot([p.intensity] * 2, ends, "_-", color=colour, lw=1.2, markersize=5, zorder=2)
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
