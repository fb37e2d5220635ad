"""One look for all figures: a colour, marker and label per version; equal data, equal bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from kvbench.files import replacing
from kvbench.report.selection import doublings

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
TICKS = 8  # lengths that an axis names one by one
SHORT = {
    "v0": "no cache",
    "v1": "KV cache",
    "v2": "INT8",
    "v3": "shared",
    "v4": "INT8 + shared",
    "v5": "INT4",
    "v6": "INT4, keys by channel",
    "v7": "INT8, keys by channel",
    "v8": "INT4 less the mean",
    "v9": "INT4 rotated",
    "v10": "window + sinks",
    "v11": "window + sinks, INT4",
}
PHASES = {
    "embedding": "#999999",
    "attention": "#0072B2",
    "mlp": "#E69F00",
    "head": "#009E73",
    "other": "#CC79A7",
}

plt.rcParams.update(
    {
        "svg.hashsalt": "kvbench",
        "svg.fonttype": "none",
        "font.size": 9,
        "figure.titlesize": 12,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.formatter.useoffset": False,
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.8,
        "legend.frameon": False,
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


def label(version: str, description: str = "") -> str:
    """What a legend calls a version: `v2 INT8`."""
    return f"{version} {SHORT.get(version, description.removeprefix('KV-cache + '))}"


def ordered(versions: Iterable[str]) -> list[str]:
    """Versions in natural order: v2 before v10."""
    return sorted(set(versions), key=lambda v: (int("".join(filter(str.isdigit, v)) or 0), v))


def foot(figure: Figure, text: str) -> None:
    """One small line under the figure: what the numbers come from."""
    figure.supxlabel(text, fontsize=8, color="#555555", x=0.01, ha="left", wrap=True)


def legend(figure: Figure, described: dict[str, str]) -> None:
    """One legend of versions (name -> description) for all panels, on the right of them."""
    handles = [
        plt.Line2D([], [], color=colour, marker=marker, ls="", label=label(name, described[name]))
        for name in ordered(described)
        for colour, marker in [look(name)]
    ]
    figure.legend(handles=handles, loc="outside right upper", fontsize=8)


def bars(axes: Axes) -> None:
    """Horizontal bars from the top down: no lines through the notes beside them."""
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def t_axis(axes: Axes, values: Iterable[int]) -> None:
    """A log2 axis of generation lengths, with a tick at each, or of many at every doubling."""
    ticks = sorted(set(values))
    ticks = ticks if len(ticks) <= TICKS else doublings(ticks)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("T, tokens generated")


def log_y(axes: Axes) -> None:
    """A log axis that shows plain numbers, also where it spans less than a decade."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def bytes_label(n: float) -> str:
    """Bytes in the decimal unit that reads best."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(n) >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f} B"


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

    The title moves to the left, where a reader begins, and is the SVG's own as well.
    """
    named = {}
    if title := figure.get_suptitle():
        if figure.get_constrained_layout():  # else laid out already, and its title with it
            figure.suptitle(title, x=0.01, ha="left")
        named = {"Title": title}
    for path in map(Path, paths):
        kind = path.suffix.removeprefix(".")
        metadata = {"Date": None, **named} if kind == "svg" else {"Software": None}
        with replacing(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=metadata)
    plt.close(figure)
