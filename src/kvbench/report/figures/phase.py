"""Where a generation's time goes, phase by phase."""

from __future__ import annotations

from matplotlib.figure import Figure

from kvbench.records.record import Record, by, measured
from kvbench.report.figures import facets, style
from kvbench.report.footer import footer

AGREE = 1.10  # versions compare by phase where their instrumented / plain ratios differ by less


def draw(records: list[Record]) -> Figure:
    """Stacked bars of milliseconds per phase, a row per version, a panel per batch size.

    A panel whose versions differ in instrumentation overhead is pale and says why: there a
    difference between two bars may be one of the instruments.
    """
    batches = by(records, "batch_size")
    few = not facets.many(len(batches))
    figure, places = facets.grid(len(batches), 1, width=8.7, height=2.9, margin=0.3)
    for (batch, cells), (axes,) in zip(batches.items(), places, strict=True):
        versions = style.ordered(by(cells, "version"))
        whole = sorted(measured(cells), key=lambda cell: versions.index(cell["version"]))
        names = [style.label(cell["version"], cell["version_description"]) for cell in whole]
        refused = _refusal([cell["instrumented_ratio"] for cell in whole])
        left = [0.0] * len(whole)
        for phase, colour in style.PHASES.items():
            spent = [cell["time_phase_ms"][phase] for cell in whole]
            axes.barh(
                names,
                spent,
                left=left,
                color=colour,
                label=phase,
                height=0.62,
                alpha=0.35 if refused else 1,
            )
            left = [a + b for a, b in zip(left, spent, strict=True)]
        for cell, name, end in zip(whole, names, left, strict=True):
            ratio = f"{cell['instrumented_ratio']:.2f}"
            note = f" {end:,.0f} ms ({'instrumented / plain ' if few else ''}{ratio})"
            axes.annotate(note, (end, name), va="center", fontsize=8)
        axes.set_xlim(0, max(left, default=1) * 1.35)
        style.bars(axes)
        axes.set_title(f"Batch {batch}{refused if few else refused.partition(' across')[0]}")
        axes.set_xlabel("ms of one generation")
    figure.legend(
        *places[0][0].get_legend_handles_labels(),
        ncols=len(style.PHASES),
        fontsize=8,
        loc="outside upper right",
    )
    first = records[0]
    figure.suptitle(
        f"Phases of {first['pretrained']}: prompt {first['prompt_length']}, T = {first['T']}"
    )
    bracket = "" if few else " · in brackets: instrumented / plain time"
    style.foot(figure, footer(records) + bracket)
    return figure


def _refusal(ratios: list[float]) -> str:
    """Why versions with these instrumented / plain ratios are not compared; empty if they are."""
    if not ratios or max(ratios) <= AGREE * min(ratios):
        return ""
    return (
        f": not to be compared across versions, instrumentation overhead {min(ratios):.2f} to "
        f"{max(ratios):.2f} of the plain time"
    )
