"""Roofline: each phase's rate against its arithmetic intensity, under the measured roofs."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.figures import style
from kvbench.records import by, measured, provenance

Records = list[dict[str, Any]]
SHAPES = {"prefill": "s", "decode": "o"}


def draw(records: Records) -> Figure:
    """A panel per batch size. Cells have measured time and modelled bytes: hollow points."""
    roofs = next(r for r in records if r["benchmark_name"] == "roofs")
    cells = [r for r in records if r["benchmark_name"] == "roofline"]
    batches = by(cells, "batch_size")
    figure, panels = plt.subplots(
        1, len(batches), figsize=(1.2 + 6.0 * len(batches), 5.0), squeeze=False, sharey=True
    )
    for (batch, mine), axes in zip(batches.items(), panels[0], strict=True):
        _roofs(axes, roofs, [cell["intensity"] for cell in measured(mine)])
        for version in style.ordered(by(mine, "version")):
            for cell in measured([c for c in mine if c["version"] == version]):
                _point(axes, cell, roofs)
        axes.set_title(f"Batch {batch}, P = {mine[0]['P']}")
        axes.set_xlabel("arithmetic intensity, FLOP / byte")
        axes.legend(fontsize=8, loc="lower right")
    panels[0, 0].set_ylabel("GFLOP/s")
    figure.suptitle(
        f"Roofline of {cells[0]['pretrained']}: modelled bytes (lower bound), measured time"
    )
    style.foot(figure, f"{provenance(cells)} · roofs measured in this study")
    return figure


def attainable(intensity: float, roofs: dict[str, Any]) -> float:
    """GFLOP/s under the roof: min(compute, read bandwidth x intensity). Williams et al. 2009."""
    return min(roofs["gemm_gflop_s"], roofs["read_gb_s"] * intensity)


def _roofs(axes: Axes, roofs: dict[str, Any], intensities: list[float]) -> None:
    ridge = roofs["gemm_gflop_s"] / roofs["read_gb_s"]
    x = np.geomspace(min([0.2, *intensities]) / 1.5, max([ridge * 8, *intensities]) * 1.5, 200)
    axes.plot(x, [attainable(i, roofs) for i in x], color="#222222", linewidth=1.6)
    axes.axvline(ridge, color="#bbbbbb", linewidth=1, linestyle=":")
    axes.annotate(
        f"ridge {ridge:.1f}", (ridge, 0.02), xycoords=axes.get_xaxis_transform(), fontsize=8
    )
    axes.annotate(
        f"{roofs['dtype']} product {roofs['gemm_gflop_s']:,.0f} GFLOP/s, measured",
        (x[-1], roofs["gemm_gflop_s"]),
        (0, 4),
        textcoords="offset points",
        ha="right",
        fontsize=8,
    )
    axes.annotate(
        f"read {roofs['read_gb_s']:.1f} GB/s, measured",
        (x[12], attainable(x[12], roofs)),
        (-4, 8),
        textcoords="offset points",
        rotation=45,
        rotation_mode="anchor",
        fontsize=8,
    )
    axes.set_xscale("log")
    axes.set_yscale("log")


def _point(axes: Axes, cell: dict[str, Any], roofs: dict[str, Any]) -> None:
    rate = cell["flop"] / cell["time_ms_median"] / 1e6
    share = rate / attainable(cell["intensity"], roofs)
    axes.plot(
        cell["intensity"],
        rate,
        SHAPES[cell["phase"]],
        markerfacecolor="none",
        markeredgecolor=style.look(cell["version"])[0],
        markeredgewidth=1.8,
        markersize=9,
        label=f"{cell['version']} {cell['phase']}: {share:.0%} of the roof",
    )
