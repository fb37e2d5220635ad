"""Where a version pays: its speed-up over its baseline, over batch and depth."""

from __future__ import annotations

import math
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from kvbench.analysis import findings
from kvbench.analysis.verdicts import IMPLEMENTATIONS
from kvbench.records.names import names_of
from kvbench.records.record import Record, apart
from kvbench.report.figures import style
from kvbench.report.footer import footer
from kvbench.stats.decisions import EQUIVALENT, FASTER, INCONCLUSIVE, SLOWER
from kvbench.stats.digits import ends

MARKS = {FASTER: "▲", SLOWER: "▼", EQUIVALENT: "=", INCONCLUSIVE: "?", IMPLEMENTATIONS: "≠"}
KEY = {mark: f"{mark} {word}" for word, mark in MARKS.items()}
KEY |= {"!": "! above its ceiling"}
NUMBERS = (
    "in brackets: {:.4g} % intervals over processes",
    "≤ the largest speed-up that bytes and FLOP allow",
)
ONE = "one process: no interval"
MOST = 60  # squares of a map that have room for their numbers
WIDTH = 10.0  # inches that maps may take side by side
LEAST = 0.1  # the colours span at least this much on either side of 1, so that noise stays pale


def draw(records: list[Record]) -> Figure:
    """A map per version: speed-up, the verdict's mark and the largest that the ceiling allows.

    `records` are decode cells and the record of their verdicts, whose words the squares show.
    """
    cells, (judged,) = apart(records, "verdicts")
    rows = [row for row in judged["rows"] if "depth" in row]
    named = style.labels(cells)
    question = f"From which batch and depth does a cache of {cells[0]['pretrained']} pay?"
    answer = findings.places(rows, names_of(cells)) if rows else "no pair of caches to compare"
    compared = [row for row in rows if "speedup" in row]
    if len(compared) < 2:
        why = f"{len(compared) or 'no'} comparison"
        return style.explained(question, why, cells, answer)
    versions = style.ordered(row["version"] for row in rows)
    batches = sorted({cell["batch_size"] for cell in cells})
    depths = sorted({cell["depth"] for cell in cells})
    near = [row for row in compared if row["baseline"] != "v0"] or compared  # v0 is far from all
    reach = max(math.log2(1 + LEAST), *(abs(math.log2(row["speedup"])) for row in near))
    roomy = len(depths) * len(batches) <= MOST
    wide, high = (1.0, 0.62) if roomy else (0.22, 0.19)
    across = max(1, min(len(versions), int(WIDTH / (1.0 + wide * len(depths)))))
    down = -(-len(versions) // across)
    size = (1.4 + across * (1.0 + wide * len(depths)), 0.3 + down * (0.7 + high * len(batches)))
    figure, grid = plt.subplots(down, across, squeeze=False, figsize=(max(size[0], 7.5), size[1]))
    image = None
    for place, axes in enumerate(grid.flat):
        if place >= len(versions):
            axes.axis("off")
            continue
        mine = [row for row in rows if row["version"] == versions[place]]
        image = _map(axes, mine, batches, depths, reach, roomy)
        over = f"{named[versions[place]]} over {named[mine[0]['baseline']]}"
        axes.set_title(over)
    if image is not None:
        _scale(figure, image, grid, reach)
    shown = {_mark(row) for row in compared}
    foot = [text for mark, text in KEY.items() if mark in shown]
    if roomy:
        foot += [NUMBERS[0].format(100 * judged["level"]), NUMBERS[1]]
    if any(row["speedup_low"] is None for row in compared):
        foot += [ONE]
    style.frame(figure, question, answer, [*foot, footer(cells)])
    return figure


def _mark(row: Record) -> str:
    return "!" if row["flag"] else MARKS[row["verdict"]]


def _map(
    axes: Axes, rows: list[Record], batches: list[int], depths: list[int], reach: float, roomy: bool
) -> AxesImage:
    """One version's squares; without room for numbers the marks alone."""
    ratios = [[math.nan] * len(depths) for _ in batches]
    for row in rows:
        y, x = batches.index(row["batch_size"]), depths.index(row["depth"])
        text = row["verdict"].replace("not compared: ", "").replace(" ", "\n") if roomy else "x"
        if "speedup" in row:
            ratios[y][x] = math.log2(row["speedup"])
            text = _numbers(row) if roomy else _mark(row)
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
    return image


def _numbers(row: Record) -> str:
    """What a square says: speed-up and mark, its interval, and what the ceiling allows."""
    if row["speedup_low"] is None:
        return f"{row['speedup']:.2f} {_mark(row)}\n{ONE.split(':')[0]}\n≤ {row['ceiling']:.2f}"
    value, low, high = ends(row["speedup"], row["speedup_low"], row["speedup_high"], apart_from=1)
    return f"{value} {_mark(row)}\n[{low}, {high}]\n≤ {row['ceiling']:.2f}"


def _scale(figure: Figure, image: AxesImage, grid: Any, reach: float) -> None:
    """A colour bar that reads in speed-ups."""
    label = "speed-up (log scale)"
    bar = figure.colorbar(image, ax=grid, shrink=0.9, label=label)
    ticks = [-reach, -reach / 2, 0, reach / 2, reach]
    bar.set_ticks(ticks, labels=[f"{2**tick:.2f}" for tick in ticks])
