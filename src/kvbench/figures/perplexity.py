"""Perplexity through the cache, beside what one plain forward would say."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from kvbench.figures import style
from kvbench.records import by, measured, provenance


def draw(records: list[dict[str, Any]]) -> Figure:
    """Change of perplexity per version, through its cache against one plain forward."""
    versions = style.ordered(by(records, "version"))
    whole = sorted(measured(records), key=lambda record: versions.index(record["version"]))
    names = [style.label(r["version"], r["version_description"]) for r in whole]
    figure, axes = plt.subplots(figsize=(9.0, 1.4 + 0.5 * len(whole)))
    for record, name in zip(whole, names, strict=True):
        colour, marker = style.look(record["version"])
        plain, cached = (record["modes"][m]["perplexity"] for m in ("teacher_forced", "cached"))
        change = 100 * (cached / plain - 1)
        axes.plot([0, change], [name, name], color=colour, linewidth=1.6)
        axes.plot(change, name, marker, color=colour, markersize=7)
        note = f"{cached:.2f} ({change:+.2g} %)"
        axes.annotate(note, (change, name), (8, 7), textcoords="offset points", fontsize=8)
    axes.axvline(0, color="#444444", linewidth=1.2)
    axes.set_xscale("symlog", linthresh=0.1)  # a rounding and a collapse on one axis
    axes.set_xlim(min(axes.get_xlim()[0], -0.1), 3 * max(axes.get_xlim()[1], 0.1))
    first = whole[0] if whole else records[0]
    axes.invert_yaxis()
    axes.margins(y=0.18)
    axes.set_xlabel(
        "change of perplexity through the cache against one plain forward, % (label: perplexity)"
    )
    axes.set_title(
        f"Perplexity of {first['pretrained']} on {first['text']}, context {first['context']}, "
        f"{first['n_windows']} windows, {first['n_tokens']:,} tokens"
    )
    shared = any(record["cross_layer_sharing"] for record in whole)
    post_hoc = " · sharing is post hoc: an architecture study, not a recipe" if shared else ""
    style.foot(figure, provenance(whole) + post_hoc)
    return figure
