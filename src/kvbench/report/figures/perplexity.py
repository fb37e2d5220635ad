"""What reading K/V through the cache costs: perplexity and divergence, paired with v1."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.analysis import findings, quality
from kvbench.analysis.answers import quality_section
from kvbench.records.record import Record, measured
from kvbench.report.figures import scales, style
from kvbench.report.footer import footer
from kvbench.stats.digits import short

ROOM = 0.35  # of the panel's width: what the numbers beside a bar take


def draw(records: list[Record]) -> Figure:
    """Change of perplexity against v1 with its interval, and KL divergence, a row per version."""
    named = style.labels(records)
    whole = sorted(measured(records), key=lambda record: list(named).index(record["version"]))
    first = whole[0] if whole else records[0]
    question = f"How much quality does each cache of {first['pretrained']} cost?"
    section = quality_section(records)
    if len(whole) < 2 or section is None:
        return style.explained(question, f"{len(whole)} of {len(records)} cells measured", records)
    figure, (left, right) = plt.subplots(
        1, 2, sharey=True, figsize=(10.4, 0.8 + 0.42 * len(whole)), width_ratios=(3, 2)
    )
    ends = [end for record in whole for end in _percents(record)]
    scales.around_zero(left, "x", ends, "change of perplexity against v1, %")
    for record in whole:
        _change(left, record, named[record["version"]])
        _divergence(right, record, named[record["version"]])
    left.axvline(0, color="#444444", linewidth=1.2)
    left.invert_yaxis()
    left.margins(y=0.2)
    far = [record["paired"]["kl"][key] or 0.0 for record in whole for key in ("mean", "p99")]
    floor = max((r["noise_floor"]["kl"]["mean"] for r in whole if "noise_floor" in r), default=0)
    if floor > 0:
        right.axvline(floor, color="#444444", linewidth=1, linestyle=":")
        far.append(floor)
    scales.fit(right, "x", [value for value in far if value > 0], "KL from v1, nats a token")
    left.set_title("perplexity, and its change")
    right.set_title("divergence: mean, and p99")
    post_hoc = [named[r["version"]] for r in whole if quality.sharing(r) == "post hoc"]
    foot = ["bars: paired 95 % intervals over windows", f"{first['n_tokens']:,} tokens scored"]
    foot += ["dotted: v1 against itself, the noise floor"] if floor > 0 else []
    foot += [style.HOLLOW] if any(_ends(record)[0] is None for record in whole) else []
    if post_hoc:
        foot += [f"{', '.join(post_hoc)}: shared post hoc, an architecture study"]
    style.frame(figure, question, findings.paragraph(section), [*foot, footer(whole)])
    return figure


def _ends(record: Record) -> tuple[float | None, float | None]:
    ratio = record["paired"]["perplexity_ratio"]
    return ratio["low"], ratio["high"]


def _percents(record: Record) -> list[float]:
    """The ends of a change, in per cent; twice the change where it has no interval."""
    change = 100 * (record["paired"]["perplexity_ratio"]["ratio"] - 1)
    return [change if end is None else 100 * (end - 1) for end in _ends(record)]


def _change(axes: Axes, record: Record, name: str) -> None:
    """Draw the change with its interval; its numbers stand on the side that has room for them."""
    colour, marker = style.look(record["version"])
    found = record["paired"]["perplexity_ratio"]
    ends = _percents(record)
    axes.plot(ends, [name, name], "|-", color=colour, linewidth=1.8, markersize=9)
    fill = style.face(record["version"], found["low"] is None)
    change = 100 * (found["ratio"] - 1)
    axes.plot(change, name, marker, color=colour, markerfacecolor=fill, markersize=7)
    said = "unchanged" if ends == [0, 0] else quality.change_words(record)
    note = f"{short(record['perplexity'], 4)} ({said})"
    places = axes.transAxes.inverted().transform(axes.transData.transform([(e, 0) for e in ends]))
    before, after = places[0][0], 1 - places[1][0]  # room beside the bar, in widths of the panel
    aside: dict[str, Any] = {"xytext": (9, 0), "ha": "left", "va": "center"}
    if before > max(after, ROOM):
        aside = {"xytext": (-9, 0), "ha": "right", "va": "center"}
    elif after < ROOM:
        aside = {"xytext": (0, 6), "ha": "right", "va": "bottom"}
    end = min(ends) if before > max(after, ROOM) else max(ends)
    axes.annotate(note, (end, name), textcoords="offset points", fontsize=8, **aside)


def _divergence(axes: Axes, record: Record, name: str) -> None:
    """KL with its interval and its p99; a version equal to v1 says so instead."""
    colour, marker = style.look(record["version"])
    kl = record["paired"]["kl"]
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
    fill = style.face(record["version"], kl["low"] is None)
    axes.plot(kl["mean"], name, marker, color=colour, markerfacecolor=fill, markersize=7)
