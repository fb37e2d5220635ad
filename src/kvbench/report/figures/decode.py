"""Where a version pays: its speed-up over its baseline, over batch and depth."""

from __future__ import annotations

import math
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from kvbench.records.record import Record
from kvbench.report.figures import style
from kvbench.report.footer import footer
from kvbench.stats.decisions import EQUIVALENT, FASTER, INCONCLUSIVE, SLOWER

MARKS = {FASTER: "▲", SLOWER: "▼", EQUIVALENT: "=", INCONCLUSIVE: "?"}
KEY = (
    "▲ faster   ▼ slower   = equivalent   ? inconclusive   ! above its ceiling   "
    "≤ the largest speed-up that bytes and FLOP allow"
)
MOST = 60  # squares of a map that have room for their numbers
LEAST = 0.1  # the colours span at least this much on either side of 1, so that noise stays pale


def draw(records: list[Record]) -> Figure:
    """A map per version: speed-up, the verdict's mark and the largest that the ceiling allows.

    `records` are decode cells and the record of their verdicts, whose words the squares show.
    """
    judged = next(r for r in records if r.get("benchmark_name") == "verdicts")
    cells = [r for r in records if r.get("benchmark_name") != "verdicts"]
    rows = [row for row in judged["rows"] if "depth" in row]
    versions = style.ordered(row["version"] for row in rows)
    batches = sorted({cell["batch_size"] for cell in cells})
    depths = sorted({cell["depth"] for cell in cells})
    near = [row for row in rows if row["baseline"] != "v0"] or rows  # v0 is far from everything
    logs = [abs(math.log2(row["speedup"])) for row in near if "speedup" in row]
    reach = max([math.log2(1 + LEAST), *logs])
    across = max(1, min(len(versions), 3))
    down = max(1, -(-len(versions) // across))
    roomy = len(depths) * len(batches) <= MOST
    wide, high = (0.85, 0.6) if roomy else (0.22, 0.19)
    figure, grid = plt.subplots(
        down,
        across,
        squeeze=False,
        figsize=(
            1.4 + across * (1.0 + wide * len(depths)),
            1.3 + down * (0.9 + high * len(batches)),
        ),
    )
    image = None
    for place, axes in enumerate(grid.flat):
        if place >= len(versions):
            axes.axis("off")
            continue
        mine = [row for row in rows if row["version"] == versions[place]]
        image = _map(axes, mine, batches, depths, reach, roomy)
    if image is not None:
        _scale(figure, image, grid, reach)
    figure.suptitle(f"Speed-up of {cells[0]['pretrained']}'s steps: above 1 is faster")
    key = KEY if roomy else KEY.rpartition("   ")[0]
    style.foot(figure, f"{key}\n{footer(cells)}")
    return figure


def _map(
    axes: Axes,
    rows: list[Record],
    batches: list[int],
    depths: list[int],
    reach: float,
    roomy: bool,
) -> AxesImage:
    """One version's squares; without room for numbers the marks alone."""
    ratios = [[math.nan] * len(depths) for _ in batches]
    for row in rows:
        y, x = batches.index(row["batch_size"]), depths.index(row["depth"])
        text = "out of\nmemory" if roomy else "x"
        if "speedup" in row:
            ratios[y][x] = math.log2(row["speedup"])
            mark = "!" if row["flag"] else MARKS[row["verdict"]]
            text = f"{row['speedup']:.2f} {mark}\n≤ {row['ceiling']:.2f}" if roomy else mark
        dark = "speedup" in row and abs(ratios[y][x]) > 0.65 * reach
        colour, size = "white" if dark else "black", 8 if roomy else 6
        axes.text(x, y, text, ha="center", va="center", fontsize=size, color=colour)
    norm = Normalize(-reach, reach)
    image = axes.imshow(ratios, cmap="RdBu", norm=norm, origin="lower", aspect="auto")
    axes.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    axes.set_yticks(range(len(batches)), [str(batch) for batch in batches])
    if not roomy:
        axes.tick_params(axis="x", rotation=90)
        axes.tick_params(labelsize=7)
    axes.set_xlabel("depth, tokens in the cache")
    axes.set_ylabel("batch")
    axes.grid(False)
    axes.set_title(f"{style.label(rows[0]['version'])} over {rows[0]['baseline']}")
    return image


def _scale(figure: Figure, image: AxesImage, grid: Any, reach: float) -> None:
    """A colour bar that reads in speed-ups."""
    bar = figure.colorbar(image, ax=grid, shrink=0.8, label="baseline's time per token / version's")
    ticks = [-reach, -reach / 2, 0, reach / 2, reach]
    bar.set_ticks(ticks, labels=[f"{2**tick:.2f}" for tick in ticks])
