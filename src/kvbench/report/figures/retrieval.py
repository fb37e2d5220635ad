"""Retrieval by length: how often each cache still answers, task by task."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kvbench.analysis import findings, retrieval
from kvbench.records.names import names_of
from kvbench.records.record import Record, measured
from kvbench.report.figures import facets, scales, style
from kvbench.report.footer import footer


def draw(records: list[Record]) -> Figure:
    """Right answers over length, a line a version, of all judged tasks and of each of them."""
    named = style.labels(records)
    cells = sorted(measured(records), key=lambda record: list(named).index(record["version"]))
    question = f"Does each cache of {records[0]['pretrained']} still find what stands in it?"
    reference = retrieval.reference_of(cells)
    judged = retrieval.judged(reference)
    if len(cells) < 2 or reference is None or not judged:
        why = "v1 answers less than half of every task"
        if len(cells) < 2 or reference is None:
            why = f"{len(cells)} of {len(records)} cells measured, and v1 must be one of them"
        return style.explained(question, why, records)
    names = names_of(records)
    tasks = list(dict.fromkeys(task for task, _ in judged))
    panels = [retrieval.ALL, *tasks] if len(tasks) > 1 else tasks
    figure, places = facets.grid(1, len(panels), width=2.4, height=style.tall(len(named), 3.0))
    for axes, shown in zip(places[0], panels, strict=True):
        own = [place for place in judged if shown in (retrieval.ALL, place[0])]
        _panel(axes, cells, reference, own)
        axes.set_title(shown)
    style.legend(facets.corner(places), {cell["version"]: named[cell["version"]] for cell in cells})
    every = {task for task, _ in retrieval.scores(reference)}
    foot = [f"{reference['items']} items of each task and length", "bars: exact 95 % intervals"]
    foot += [
        f"not judged, as v1 answers less than half: {', '.join(sorted(every - set(tasks)))}"
        for _ in every - set(tasks)
    ][:1]
    said = [
        retrieval.sentence(cell, reference, names[cell["version"]], names["v1"])
        for cell in cells
        if cell is not reference
    ]
    style.frame(figure, question, findings.joined(said), [*foot, footer(cells)])
    return figure


def _panel(
    axes: Axes, cells: list[Record], reference: Record, places: list[retrieval.Place]
) -> None:
    """The share of right answers at each length, and its exact interval."""
    lengths = sorted({length for _, length in places})
    for n, cell in enumerate(cells):
        aside = n - (len(cells) - 1) / 2  # keeps bars off one another
        points = []
        for length in lengths:
            here = [place for place in places if place[1] == length]
            row = retrieval.pooled(cell, reference, here)
            share = (100 * row[key] for key in ("share", "share_low", "share_high"))
            points.append((length * 1.02**aside, *share))
        facets.line(axes, cell["version"], points)
    scales.lengths(axes, lengths, "tokens")
    axes.set_ylim(-3, 103)
    axes.set_ylabel("right answers, %")
