"""One look for all figures: question, answer, foot, and a colour and marker per version."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from kvbench.files import replacing
from kvbench.records.names import names_of
from kvbench.records.record import Record
from kvbench.report.footer import footer

# Okabe & Ito's palette: distinct under any colour vision; markers are distinct in grey.
STYLE = {
    "v0": ("#6b6b6b", "o"),
    "v1": ("#0072B2", "s"),
    "v2": ("#E69F00", "^"),
    "v3": ("#009E73", "D"),
    "v4": ("#D55E00", "v"),
}
# Versions beyond the table: five more colours and seven markers, so that 35 differ in one of them.
SPARE = ("#CC79A7", "#56B4E9", "#000000", "#8c6bb1", "#a6761d")
MARKERS = "PX*hp<>"
PHASES = {
    "embedding": "#999999",
    "attention": "#0072B2",
    "mlp": "#E69F00",
    "head": "#009E73",
    "other": "#CC79A7",
}
HOLLOW = "hollow: one sample, no interval"
TITLE, TEXT, FOOT = 12.0, 9.5, 8.0  # points: the question, its answer, and where numbers come from
LINE = 1.25  # height of a line of text over its size
WIDE = 0.535  # mean width of a character over its size: DejaVu Sans, with a little to spare
GAP = 6.0  # points between the edge, the texts and the panels
LEFT = 0.01  # where texts begin, in widths of the figure
GREY = "#555555"

plt.rcParams.update(
    {
        "svg.hashsalt": "kvbench",
        "svg.fonttype": "none",
        "font.size": 9,
        "figure.titlesize": TITLE,
        "figure.titleweight": "bold",
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.formatter.useoffset": False,
        "axes.formatter.limits": (-5, 7),
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "figure.dpi": 120,
        "savefig.dpi": 150,
        "figure.constrained_layout.use": True,
    }
)


def look(version: str) -> tuple[str, str]:
    """Colour and marker of a version; one beyond the table takes spares by its number."""
    if version in STYLE:
        return STYLE[version]
    digits = "".join(filter(str.isdigit, version))
    place = int(digits) - len(STYLE) if digits else len(version)
    return SPARE[place % len(SPARE)], MARKERS[place % len(MARKERS)]


def face(version: str, one_sample: bool) -> str:
    """The fill of a version's marker: none where it is one sample."""
    return "white" if one_sample else look(version)[0]


def ordered(versions: Iterable[str]) -> list[str]:
    """Versions in natural order: v2 before v10."""
    return sorted(set(versions), key=lambda v: (int("".join(filter(str.isdigit, v)) or 0), v))


def labels(records: Sequence[Record]) -> dict[str, str]:
    """What a figure calls each version, `int8 (v2)`, in natural order; others keep their name."""
    names = names_of(records)
    versions = ordered(record["version"] for record in records)
    return {v: f"{names[v]} ({v})" if v in names else v for v in versions}


def frame(figure: Figure, question: str, answer: str, foot: Sequence[str]) -> None:
    """Put the question and its answer above the panels, and the foot's parts below them.

    The figure grows by the height of the texts, so that panels keep theirs; call it last.
    """
    width, height = figure.get_size_inches()
    said = _wrapped(answer, width, TEXT)
    parts = [part for text in foot if text for part in text.split(" · ")]
    below = _wrapped("\xa0· ".join(map(_whole, parts)), width, FOOT)
    top = (3 * GAP + LINE * (TITLE + TEXT * len(said))) / 72  # inches
    bottom = (2 * GAP + LINE * FOOT * len(below)) / 72
    full = height + top + bottom
    figure.set_size_inches(width, full)
    under = GAP + LINE * TITLE + GAP / 2
    title = figure.suptitle(question, x=LEFT, y=1 - GAP / 72 / full, ha="left", va="top")
    answers = figure.text(LEFT, 1 - under / 72 / full, "\n".join(said), fontsize=TEXT, va="top")
    sources = figure.text(LEFT, GAP / 72 / full, "\n".join(below), fontsize=FOOT, color=GREY)
    for text in (title, answers, sources):
        text.set_linespacing(LINE)
        text.set_in_layout(False)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, bottom / full, 1, height / full))


def explained(question: str, why: str, records: Sequence[Record], answer: str = "") -> Figure:
    """In the place of a figure that would show fewer than two points: one line that says why."""
    figure = plt.figure(figsize=(9, 0.1), layout="none")
    frame(figure, question, f"Not drawn: {why}{'. ' if answer else ''}{answer}", [footer(records)])
    return figure


def _wrapped(text: str, width: float, size: float) -> list[str]:
    """Lines of text of this size (points) that fit a width (inches); no interval is broken."""
    kept = re.sub(r"\[[^\]]*\]", lambda found: _whole(found[0]), text).replace(" %", "\xa0%")
    most = int(72 * width * (1 - 2 * LEFT) / (WIDE * size))
    lines = textwrap.wrap(kept, most, break_on_hyphens=False)
    return [line.replace("\xa0", " ").removesuffix(" ·") for line in lines]


def _whole(part: str) -> str:
    """The same text, which no line break may part where it is short."""
    return part.replace(" ", "\xa0") if len(part) < 75 else part


def legend(axes: Axes, named: dict[str, str]) -> None:
    """A legend of versions (name -> label) right of the panel, which stands for all."""
    handles = [
        plt.Line2D([], [], color=colour, marker=marker, ls="", label=text)
        for version, text in named.items()
        for colour, marker in [look(version)]
    ]
    legend_right(axes, handles)


def tall(rows: int, least: float) -> float:
    """The height in inches of a panel beside so many rows of a legend, or with so many bars."""
    return max(least, 0.3 + 0.2 * rows)


def legend_right(axes: Axes, handles: Sequence[Any], lower: bool = False) -> None:
    """Put a legend right of a panel, from its top down or, beside another one, at its foot."""
    side, height = ("lower left", 0) if lower else ("upper left", 1)
    if axes.legend_ is not None:
        axes.add_artist(axes.legend_).set_clip_on(False)  # else the layout leaves it out
    axes.legend(handles=handles, borderaxespad=0, loc=side, bbox_to_anchor=(1.02, height))


def bars(axes: Axes) -> None:
    """Horizontal bars from the top down: no lines through the notes beside them."""
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def interval(
    axes: Axes, at: tuple[Any, Any], along: str, ends: Iterable[float], **look: Any
) -> None:
    """The mark at (x, y) with a bar between the `ends` of its interval, `along` the axis x or y."""
    value, (low, high) = at["xy".index(along)], ends
    look[f"{along}err"] = [[max(0.0, value - low)], [max(0.0, high - value)]]
    axes.errorbar([at[0]], [at[1]], capsize=2.5, **look)


def mark_out_of_memory(axes: Axes, T: int, version: str) -> None:
    """A cross at the top of the axes where a version ran out of memory."""
    axes.plot(
        [T],
        [0.97],
        "x",
        color=look(version)[0],
        transform=axes.get_xaxis_transform(),
        clip_on=False,
    )
    axes.annotate(
        f"{version} out of memory", (T, 0.97), xycoords=axes.get_xaxis_transform(), fontsize=8
    )


def save(figure: Figure, *paths: str | Path) -> None:
    """Write the figure to each path, atomically and without dates, and close it.

    The question is the SVG's own title as well.
    """
    title = figure.get_suptitle()
    for path in map(Path, paths):
        kind = path.suffix.removeprefix(".")
        metadata = {"Date": None, "Title": title} if kind == "svg" else {"Software": None}
        with replacing(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=metadata)
    plt.close(figure)
