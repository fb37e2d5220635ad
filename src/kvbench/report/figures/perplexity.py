"""What reading K/V through the cache costs: perplexity and divergence, paired with v1."""

from __future__ import annotations

from math import ceil, floor, log10

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from kvbench.analysis import quality
from kvbench.records.record import Record, by, measured
from kvbench.report.figures import style
from kvbench.report.footer import footer

LEAST = 0.01  # per cent: the change axis is linear below it


def draw(records: list[Record]) -> Figure:
    """Change of perplexity against v1 with its interval, and KL divergence, a row per version."""
    versions = style.ordered(by(records, "version"))
    whole = sorted(measured(records), key=lambda record: versions.index(record["version"]))
    figure, (left, right) = plt.subplots(
        1, 2, sharey=True, figsize=(10.4, 1.7 + 0.46 * len(whole)), width_ratios=(3, 2)
    )
    ends = [0.0]
    for record in whole:
        ends += _change(left, record)
        _divergence(right, record)
    first = whole[0] if whole else records[0]
    left.axvline(0, color="#444444", linewidth=1.2)
    left.set_xscale("symlog", linthresh=LEAST)  # a rounding and a collapse on one axis
    least, most = min(*ends, -LEAST), max(*ends, LEAST)
    decades = 2 + log10(most / LEAST) + log10(-least / LEAST)
    left.set_xlim(2 * least, most * 10 ** (0.35 * decades))  # room for the labels
    left.set_xticks([-at for at in _decades(-least)] + [0] + _decades(most), minor=False)
    left.minorticks_off()
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.invert_yaxis()
    left.margins(y=0.2)
    left.set_xlabel("change of perplexity against v1, % (label: perplexity)")
    right.set_xscale("log")
    right.set_xlabel("KL divergence from v1, nats a token (bar: p99)")
    scored = f"{first['n_windows']} windows, {first['n_tokens']:,} tokens" if whole else "no window"
    left.set_title(
        f"Perplexity of {first['pretrained']} on {first['text']}, context {first['context']}, "
        + scored
    )
    post_hoc = ", ".join(r["version"] for r in whole if quality.sharing(r) == "post hoc")
    label = f" · {post_hoc}: shared post hoc, an architecture study" if post_hoc else ""
    style.foot(figure, f"{footer(whole or records)} · paired 95 % intervals over windows{label}")
    return figure


def _name(record: Record) -> str:
    return style.label(record["version"], record["version_description"])


def _decades(most: float) -> list[float]:
    """Powers of ten from LEAST to `most`, a handful."""
    powers = range(round(log10(LEAST)), floor(log10(most)) + 1)
    return [10.0**power for power in powers[:: ceil(len(powers) / 6)]]


def _change(axes: Axes, record: Record) -> list[float]:
    """Draw the change with its interval; the places it takes on the axis."""
    colour, marker = style.look(record["version"])
    ratio, name = record["paired"]["perplexity_ratio"], _name(record)
    change = 100 * (ratio["ratio"] - 1)
    ends = (
        [change, change]
        if ratio["low"] is None
        else [100 * (ratio[e] - 1) for e in ("low", "high")]
    )
    axes.plot(ends, [name, name], "|-", color=colour, linewidth=1.8, markersize=9)
    axes.plot(change, name, marker, color=colour, markersize=7)
    note = f"{record['perplexity']:.5g} ({change or 0:{'+' if change else ''}.2g} %)"
    axes.annotate(
        note, (max(ends), name), (9, 0), textcoords="offset points", va="center", fontsize=8
    )
    return ends


def _divergence(axes: Axes, record: Record) -> None:
    """KL with its interval and its p99; a version equal to v1 says so instead."""
    colour, marker = style.look(record["version"])
    kl, name = record["paired"]["kl"], _name(record)
    if kl["mean"] <= 0:
        axes.annotate(
            "none", (0.02, name), xycoords=axes.get_yaxis_transform(), va="center", fontsize=8
        )
        return
    if kl["p99"] is not None:
        axes.plot([kl["mean"], kl["p99"]], [name, name], color=colour, linewidth=1.2, alpha=0.5)
        axes.plot(kl["p99"], name, "|", color=colour, markersize=9)
    if kl["low"] is not None:
        axes.plot([kl["low"], kl["high"]], [name, name], color=colour, linewidth=4, alpha=0.35)
    axes.plot(kl["mean"], name, marker, color=colour, markersize=7)
