"""What only a profiler can tell: bytes at each level of the memory, and the kernels one by one."""

from __future__ import annotations

from matplotlib.axes import Axes

from kvbench.analysis.roofline import point
from kvbench.records.record import Record
from kvbench.report.figures import style
from kvbench.report.figures.roofline_panel import SHAPES, draw_roofs, log_axes, name_axes
from kvbench.stats.digits import size

LEVELS = (("l1_bytes", "L1", "<"), ("l2_bytes", "L2", "D"), ("dram_bytes", "DRAM", None))
NAMED = 8


def draw_levels(axes: Axes, cells: list[Record], roofs: Record) -> None:
    """Each phase's intensity by bytes of L1, L2 and DRAM, joined: far apart means reuse."""
    points = [point(cell, roofs) for cell in cells]
    lowest = [
        p.flop / bytes_
        for p, cell in zip(points, cells, strict=True)
        for key, _, _ in LEVELS
        if (bytes_ := cell["counted"].get(key))
    ]
    _frame(axes, lowest, [p.gflop_s for p in points], roofs)
    for p, cell in zip(points, cells, strict=True):
        colour = style.look(cell["version"])[0]
        at = [
            (p.flop / bytes_, name, marker or SHAPES[cell["phase"]])
            for key, name, marker in LEVELS
            if (bytes_ := cell["counted"].get(key))
        ]
        axes.plot([x for x, _, _ in at], [p.gflop_s] * len(at), color=colour, lw=1, zorder=2)
        for x, _, marker in at:
            axes.plot(x, p.gflop_s, marker, color=colour, markersize=6, zorder=3)
    axes.set_title(
        "by bytes of L1 \N{BLACK LEFT-POINTING SMALL TRIANGLE}, L2 \N{BLACK DIAMOND SUIT}, DRAM"
    )


def draw_kernels(axes: Axes, names: Axes, cells: list[Record], roofs: Record) -> None:
    """Kernels of the longest cached decode step, or of the longest phase: area is time.

    The first eight are named, in the axes `names`; those without FLOP have no place on a log axis:
    the list has their bytes.
    """
    cell = max(
        cells, key=lambda c: (c["phase"] == "decode", c["use_cache"], c["counted"]["time_ns"])
    )
    kernels = cell["counted"]["kernels"]
    whole = sum(k["time_ns"] or 0 for k in kernels)
    placed = [k for k in kernels if k["flop"] and k["dram_bytes"] and k["time_ns"]]
    p = point(cell, roofs)
    xs, ys = (
        [k["flop"] / k["dram_bytes"] for k in placed],
        [k["flop"] / k["time_ns"] for k in placed],
    )
    _frame(axes, [*xs, p.intensity], [*ys, p.gflop_s], roofs)
    notes = []
    for place, (kernel, x, y) in enumerate(zip(placed, xs, ys, strict=True), 1):
        share = kernel["time_ns"] / whole
        axes.scatter(x, y, 2500 * share, color=style.look(cell["version"])[0], alpha=0.45, zorder=3)
        if place <= NAMED:
            axes.annotate(str(place), (x, y), ha="center", va="center", fontsize=8, zorder=5)
            times = f"\N{MULTIPLICATION SIGN}{kernel['launches']}"
            notes.append(f"{place}  {share:4.0%}  {short(kernel['name'])} {times}")
    idle = [k for k in kernels if k["flop"] == 0]
    if idle:
        notes.append("no FLOP:")
        for kernel in idle[:NAMED]:
            share, moved = (kernel["time_ns"] or 0) / whole, kernel["dram_bytes"] or 0
            notes.append(f"{share:6.0%}  {short(kernel['name'])}, {size(moved)}")
        notes += [f"and {len(idle) - NAMED} more"] if len(idle) > NAMED else []
    axes.set_title(f"kernels of {cell['version']} {cell['phase']}, area is time")
    names.set_axis_off()
    names.text(0, 1, "\n".join(notes), va="top", fontsize=8, color="#333333")


def short(name: str, most: int = 30) -> str:
    """A kernel's name without `void`, namespaces, template arguments and parameters."""
    plain = name.removeprefix("void ")
    for unnamed in ("<unnamed>::", "(anonymous namespace)::"):
        plain = plain.replace(unnamed, "")
    plain = plain.split("<")[0].split("(")[0].split("::")[-1].strip() or name
    return plain if len(plain) <= most else plain[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _frame(axes: Axes, xs: list[float], ys: list[float], roofs: Record) -> None:
    ridge = roofs["gemm_gflop_s"] / roofs["read_gb_s"]
    left, right = min([ridge / 10, *xs]) / 3, max([ridge * 4, *xs]) * 2
    log_axes(axes, left, right, min(ys) / 4, 2 * max([roofs["gemm_gflop_s"], *ys]))
    draw_roofs(axes, roofs, names=False)
    name_axes(axes, roofs)
