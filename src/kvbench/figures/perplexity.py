"""Perplexity through the cache, beside what one plain forward would say."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from kvbench.figures import style
from kvbench.records import by, measured, provenance


def draw(records: list[dict[str, Any]]) -> Figure:
    """Perplexity per version in both modes, each labelled with its change against the plain one."""
    versions = style.ordered(by(records, "version"))
    whole = sorted(measured(records), key=lambda record: versions.index(record["version"]))
    names = [style.label(r["version"], r["version_description"]) for r in whole]
    figure, axes = plt.subplots(figsize=(9.0, 1.4 + 0.5 * len(whole)))
    for record, name in zip(whole, names, strict=True):
        colour, marker = style.look(record["version"])
        plain, cached = (record["modes"][m]["perplexity"] for m in ("teacher_forced", "cached"))
        axes.plot([plain, cached], [name, name], color=colour, linewidth=1.4)
        axes.plot(plain, name, "|", color="#444444", markersize=14, markeredgewidth=1.6)
        axes.plot(cached, name, marker, color=colour, markersize=7)
        note = f"{cached:.2f} ({cached / plain - 1:+.2%})"
        axes.annotate(note, (cached, name), (8, 7), textcoords="offset points", fontsize=8)
    first = whole[0] if whole else records[0]
    axes.invert_yaxis()
    axes.margins(x=0.16, y=0.18)
    axes.set_xlabel("perplexity (marker: through the cache; bar: one plain forward)")
    axes.set_title(
        f"Perplexity of {first['pretrained']} on {first['text']}, context {first['context']}, "
        f"{first['n_windows']} windows, {first['n_tokens']:,} tokens"
    )
    shared = any(record["cross_layer_sharing"] for record in whole)
    post_hoc = " · sharing is post hoc: an architecture study, not a recipe" if shared else ""
    style.foot(figure, provenance(whole) + post_hoc)
    return figure
