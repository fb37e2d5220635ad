"""Roofline: each phase's rate against its arithmetic intensity, under the measured roofs."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from kvbench.analysis.findings import kernel_times, roof_share, roof_shares
from kvbench.analysis.roofline import (
    COUNTED,
    MODELLED,
    companion,
    is_counted,
    plausible,
    point,
    predecessors,
    ratios,
)
from kvbench.records.names import names_of
from kvbench.records.record import Record, by, measured
from kvbench.report.figures import style
from kvbench.report.figures.roofline_counters import draw_kernels, draw_levels
from kvbench.report.figures.roofline_labels import (
    change,
    draw_arrows,
    draw_shares,
    settle,
)
from kvbench.report.figures.roofline_panel import (
    SHAPES,
    draw_points,
    draw_roofs,
    filling,
    limits,
    log_axes,
    name_axes,
    rates,
)
from kvbench.report.footer import footer
from kvbench.report.selection import evenly_spaced, shown_of

MOST = 4  # batches that are drawn
FILLS = {  # what FLOP and bytes of a point are -> how it is drawn
    (COUNTED, COUNTED): "filled points are counted by the device",
    (MODELLED, COUNTED): "of points filled to the right bytes are counted and FLOP modelled",
    (COUNTED, MODELLED): "of points filled above FLOP are counted and bytes modelled",
    (MODELLED, MODELLED): "hollow points are modelled bytes (lower bound)",
}
WIDTH, PANELS, COUNTERS = 11.0, 5.2, 4.0  # inches: all, height of a row of panels, of a second
KEY = 8.0  # size of the key's text, in points


def draw(records: list[Record]) -> Figure:
    """A row per batch size: the whole roofline, and each phase's cached versions close up.

    Where a profiler counted, a second row: bytes at each level of the memory, and the kernels.
    Filled points are counted, hollow ones modelled. Raises StopIteration without a roofs record.
    """
    roofs = next(r for r in records if r["benchmark_name"] == "roofs")
    cells = [r for r in records if r["benchmark_name"] == "roofline"]
    question = f"How near does each cache of {cells[0]['pretrained']} come to its roof?"
    whole = measured(cells)
    batches = by(whole, "batch_size")
    every, batches = len(batches), {batch: batches[batch] for batch in evenly_spaced(batches, MOST)}
    if len(whole) < 2 and not any(map(is_counted, whole)):
        return style.explained(question, f"{len(whole)} of {len(cells)} cells measured", cells)
    phases = [phase for phase in SHAPES if any(c["phase"] == phase for c in cells)]
    keys = {batch: _keys(mine, roofs, phases) for batch, mine in batches.items()}
    heights = []
    for batch, mine in batches.items():
        heights.append(PANELS + _height(keys[batch]))
        heights += [COUNTERS] if any(map(is_counted, mine)) else []
    figure = plt.figure(figsize=(WIDTH, sum(heights)))
    grid: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    rows = iter(grid[:, 0])
    labelled = []
    for batch, mine in batches.items():
        labelled += _batch(next(rows), batch, mine, roofs, keys[batch])
        if any(map(is_counted, mine)):
            _counters(next(rows), mine, roofs)
    shown = batches[max(batches)]
    foot = [_what(batches), *_foot(cells, roofs), shown_of(len(batches), every, "batches")]
    style.frame(figure, question, roof_shares(shown, roofs, names_of(cells)), foot)
    figure.draw_without_rendering()  # lay out, so that labels can be moved by what they cover
    figure.set_layout_engine("none")
    _round(figure)
    for axes, labels, points in labelled:
        settle(axes, labels, points)
    return figure


def _round(figure: Figure | SubFigure) -> None:
    """Round what the layout solver placed: its last digits differ from run to run."""
    for part in figure.subfigs:
        part.bbox_relative.set_points(part.bbox_relative.get_points().round(6))
        for axes in part.axes:
            if axes.figure is part:
                box = axes.get_position(original=True)
                axes.set_position(Bbox(box.get_points().round(6)))
        _round(part)


def _batch(
    row: SubFigure, batch: int, cells: list[Record], roofs: Record, keys: list[list[Line2D]]
) -> list[tuple[Any, ...]]:
    """One batch size: the panels and their key. Returns what `settle` needs, per panel."""
    halves: Any = row.subfigures(2, 1, height_ratios=(PANELS, _height(keys)))
    panels, key = halves
    left, right = panels.subfigures(1, 2, width_ratios=(1.55, 1))
    whole, (upper, lower) = left.subplots(), right.subplots(2, 1)
    panels.suptitle(
        f"batch {batch}, P = {cells[0]['P']}", x=0.01, ha="left", size=10, weight="normal"
    )
    closer = [
        (upper, "prefill, close up", [c for c in cells if c["phase"] == "prefill"]),
        (
            lower,
            "decode with a cache, close up",
            [c for c in cells if c["phase"] == "decode" and c["use_cache"]],
        ),
    ]
    done = []
    for axes, title, shown in [(whole, "", cells), *closer]:
        if not shown:
            axes.set_axis_off()
            continue
        axes.set_title(title)
        points = [point(cell, roofs) for cell in shown]
        ys = [y for cell, p in zip(shown, points, strict=True) for y in rates(cell, p)]
        if axes is whole:
            log_axes(axes, *limits(points, ys, roofs))
        else:
            _close_up(axes, points, ys)
        name_axes(axes, roofs)
        draw_roofs(axes, roofs, names=axes is whole)
        draw_points(axes, shown, roofs, size=8 if axes is whole else 9)
        labels = (draw_arrows if axes is whole else draw_shares)(axes, shown, roofs)
        models = [companion(cell, roofs) for cell in shown if is_counted(cell)]
        done.append((axes, labels, points + models))
    for column, handles in enumerate(keys):
        at = (0.01 + column / len(keys), 1)
        key.legend(handles=handles, loc="upper left", fontsize=KEY, bbox_to_anchor=at)
    return done


def _close_up(axes: Any, points: list[Any], ys: list[float]) -> None:
    """Equal decades around a cluster and its bars, at least a fifth of one to each side."""
    xs = [p.intensity for p in points]
    middle = [(min(v) * max(v)) ** 0.5 for v in (xs, ys)]
    half = [1.25 * (max(v) / min(v)) ** 0.5 for v in (xs, ys)]
    half[0] = max(half[0], half[1] ** 1.6, 1.6)  # wider than high, as the panel is
    half[1] = max(half[1], half[0] ** (1 / 1.9))
    (x, y), (w, h) = middle, half
    log_axes(axes, x / w, x * w, y / h, y * h)


def _keys(cells: list[Record], roofs: Record, phases: list[str]) -> list[list[Line2D]]:
    """By phase, what each marker is: its share of its roof, and what its step changed."""
    steps, named = predecessors(cells), style.labels(cells)
    keys = []
    for phase in phases:
        mine = {c["version"]: c for c in cells if c["phase"] == phase}
        handles = [Line2D([], [], ls="", label=f"{phase}: share of its roof, and what holds it")]
        for version in named:
            if version not in mine:
                handles.append(Line2D([], [], ls="", label=f"{version} {phase}: out of memory"))
                continue
            p, colour = point(mine[version], roofs), style.look(version)[0]
            text = f"{named[version]}: {roof_share(mine[version], roofs)}, {p.bound}"
            if p.impossible:
                text += ", above it: an error"
            found = ratios(mine[version]) or {}
            off = [f"{kind} {ratio:.2f}" for kind, ratio in found.items() if not plausible(ratio)]
            text += f"; counted / modelled {', '.join(off)}" if off else ""
            if (before := steps.get(version)) in mine:
                text += f"\nagainst {before}: {change(mine[before], mine[version], roofs)}"
            handles.append(
                Line2D(
                    [],
                    [],
                    ls="",
                    marker=SHAPES[phase],
                    markersize=8,
                    **filling(p, colour),
                    markeredgecolor=colour,
                    markeredgewidth=1.8,
                    label=text,
                )
            )
        keys.append(handles)
    return keys


def _height(keys: list[list[Line2D]]) -> float:
    """The height of a batch's key, in inches."""
    lines = [sum(1 + str(h.get_label()).count("\n") for h in handles) for handles in keys]
    return (1.5 * KEY * max(lines) + 2 * KEY) / 72


def _counters(row: SubFigure, cells: list[Record], roofs: Record) -> None:
    """The two panels that only a profiler can fill."""
    levels, kernels, names = row.subplots(1, 3, width_ratios=(1, 1, 0.75))
    counted = [cell for cell in cells if is_counted(cell)]
    draw_levels(levels, counted, roofs)
    draw_kernels(kernels, names, counted, roofs)


def _what(batches: dict[int, list[Record]]) -> str:
    cells = [cell for mine in batches.values() for cell in mine]
    nowhere = {"gemm_gflop_s": 1.0, "read_gb_s": 1.0}
    kinds = {(p.flop_is, p.bytes_is) for p in (point(cell, nowhere) for cell in cells)}
    return ", ".join(text for kind, text in FILLS.items() if kind in kinds)


def _foot(cells: list[Record], roofs: Record) -> list[str]:
    first = measured(cells)[0]
    counted: Record = next((cell["counted"] for cell in cells if is_counted(cell)), {})
    parts = [footer(cells)]
    parts += [f"driver {first['driver_version']}"] if first.get("driver_version") else []
    parts += [f"CUDA {first['cuda_version']}"] if first.get("cuda_version") else []
    version = (first.get("ncu") or {}).get("version") or counted.get("ncu_version")
    parts += [f"ncu {version}"] if version else []
    parts += ["caches and clocks left alone"] if first.get("ncu") else []
    parts += ["small hollow: modelled"] if counted else []
    parts += _bars(measured(cells))
    parts += [
        "arrow: one optimisation more",
        "a multiply-add is 2 FLOP; norms, softmax, GELU not modelled",
    ]
    parts += ["share: of min(product, read bandwidth x intensity)"]
    if sheet := roofs.get("datasheet"):
        parts.append(
            f"dashed: {sheet['source']}, {sheet['sparsity']}, sums in {sheet['accumulate']}"
        )
    return parts


def _bars(cells: list[Record]) -> list[str]:
    """What the vertical bars are, and how many points have none."""
    with_bar = [cell for cell in cells if kernel_times(cell).low is not None]
    over = {"processes" if "processes" in c else "the runs of one process" for c in with_bar}
    lacking = len(cells) - len(with_bar)
    said = [f"bars: 95 % intervals over {' or '.join(sorted(over))}"] if over else []
    return said + ([f"no bar: one sample, no interval ({lacking})"] if lacking else [])
