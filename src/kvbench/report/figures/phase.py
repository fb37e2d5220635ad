"""Where a generation's time goes, phase by phase."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.analysis import findings
from kvbench.records.names import names_of
from kvbench.records.record import Record, by, measured
from kvbench.report.figures import facets, scales, style
from kvbench.report.footer import footer

AGREE = 1.10  # versions compare by phase where their instrumented / plain ratios differ by less


def draw(records: list[Record]) -> Figure:
    """Stacked bars of milliseconds per phase, a row per version, a panel per batch size.

    Versions whose instrumentation overhead differs from v1's are left out, as a difference between
    their bars may be one of the instruments; the foot names them.
    """
    first, whole = records[0], measured(records)
    question = f"Which part of {first['pretrained']} takes the time with each cache?"
    named = style.labels(records)
    batches = {batch: agreeing(cells) for batch, cells in by(whole, "batch_size").items()}
    kept = [cell for cells in batches.values() for cell in cells]
    left_out = _left_out([cell for cell in whole if cell not in kept], kept, named)
    if len(kept) < 2:
        why = f"{len(kept)} of {len(records)} cells can be shown"
        return style.explained(question, why, records, left_out)
    height = style.tall(max(map(len, batches.values())), 1.2) + 0.8
    figure, places = facets.grid(len(batches), 1, width=7.7, height=height)
    for (batch, cells), (axes,) in zip(batches.items(), places, strict=True):
        _bars(axes, cells, named)
        axes.set_title(f"batch {batch}")
    corner = facets.corner(places)
    style.legend_right(corner, corner.get_legend_handles_labels()[0])
    several = any(len(cell["runs"]) > 1 for cell in kept)
    foot = [left_out, f"prompt {first['prompt_length']}, T = {first['T']}"]
    foot += ["in brackets: instrumented / plain time"]
    foot += [
        "bars: 95 % intervals of the whole over the runs of one process"
        if several
        else "one run each: no interval"
    ]
    largest = batches[max(batches)]
    answer = findings.parts(largest, names_of(records))
    style.frame(figure, question, answer, [*foot, footer(records)])
    return figure


def agreeing(cells: list[Record]) -> list[Record]:
    """The most versions whose overheads are within AGREE of one another, v1 among them if there."""
    ranked = sorted(cells, key=lambda cell: cell["instrumented_ratio"])
    groups = [
        [c for c in ranked[k:] if c["instrumented_ratio"] <= AGREE * low["instrumented_ratio"]]
        for k, low in enumerate(ranked)
    ]
    with_v1 = [group for group in groups if any(cell["version"] == "v1" for cell in group)]
    best = max(with_v1 or groups, key=len, default=[])
    versions = style.ordered(cell["version"] for cell in best)
    return sorted(best, key=lambda cell: versions.index(cell["version"]))


def _left_out(cells: list[Record], kept: list[Record], named: dict[str, str]) -> str:
    """One line: which versions are not drawn, and why."""
    if not cells:
        return ""
    each = (f"{named[v]} {_ratios(own)}" for v, own in by(cells, "version").items())
    return (
        f"not comparable, so left out: {', '.join(each)} times the plain time under the "
        f"instruments, those drawn {_ratios(kept)}"
    )


def _ratios(cells: list[Record]) -> str:
    """The overheads of some cells: `1.10`, or `0.94 to 1.01`."""
    ratios = [cell["instrumented_ratio"] for cell in cells]
    ends = dict.fromkeys(f"{ratio:.2f}" for ratio in (min(ratios), max(ratios)))
    return " to ".join(ends)


def _bars(axes: Axes, cells: list[Record], named: dict[str, str]) -> None:
    whole = [cell["time_phase_ms"] for cell in cells]
    ends = [sum(spent[phase] for phase in style.PHASES) for spent in whole]
    names = [
        f"{named[cell['version']]}: {end:,.0f} ms ({cell['instrumented_ratio']:.2f})"
        for cell, end in zip(cells, ends, strict=True)
    ]
    left = [0.0] * len(cells)
    for phase, colour in style.PHASES.items():
        spent = [of[phase] for of in whole]
        axes.barh(names, spent, left=left, color=colour, label=phase, height=0.62)
        left = [a + b for a, b in zip(left, spent, strict=True)]
    reached = []
    for cell, name, end in zip(cells, names, ends, strict=True):
        found = findings.over_runs([run["total"] for run in cell["runs"]])
        low, high = (end if x is None else x for x in (found.low, found.high))
        if high > low:
            style.interval(axes, (end, name), "x", (low, high), color="black", linewidth=1)
        reached.append(max(end, high))
    scales.fit(axes, "x", [0.0, *ends], "ms of one generation")
    axes.set_xlim(0, min(1.04 * max(reached), scales.ROOM * max(ends)))
    style.bars(axes)
