"""Speed-up over a baseline, from process pairs of one interleaved block."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from kvbench.analysis import findings
from kvbench.analysis.answers import speed_section
from kvbench.analysis.drift import Exponents, Work, compare_cells, exponents
from kvbench.analysis.rounds import UnpairedError
from kvbench.records.record import Record, apart, by, measured
from kvbench.report.figures import facets, scales, style
from kvbench.report.footer import footer


def draw(records: list[Record]) -> Figure:
    """Baseline time over each version's, against T, with paired intervals.

    `records` are latency cells and the record of their verdicts, whose adjusted level the bars
    have, so that picture and word agree. The baselines are the study's first version (v0 where it
    has one), and v1, which is what the versions above it must beat.
    """
    records, (judged,) = apart(records, "verdicts")
    level, drift = judged["level"], exponents(records)
    named = style.labels(records)
    versions = list(named)
    against = [versions[0]] + (["v1"] if "v1" in versions[1:-1] else [])
    question = f"Which cache of {records[0]['pretrained']} is fastest, and by how much?"
    rows = [row for row in judged["rows"] if "T" in row]
    answer = findings.paragraph(speed_section(judged | {"rows": rows}, records, "T"))
    batches = by(records, "batch_size")
    words = {
        (row["batch_size"], row["T"], row["baseline"], row["version"]): row
        for row in rows
        if row.get("speedup") is not None
    }
    found = {
        (batch, baseline, version): _points(cells, baseline, version, words, drift, level)
        for batch, cells in batches.items()
        for baseline in against
        for version in versions[versions.index(baseline) + 1 :]
    }
    every = [point for points in found.values() for point in points]
    if len(every) < 2:
        why = f"{'one comparison' if every else 'no comparison'}"
        return style.explained(question, why, records, answer)
    figure, places = facets.grid(
        len(batches), len(against), width=3.9, height=style.tall(len(named), 3.2)
    )
    for (batch, cells), panels in zip(batches.items(), places, strict=True):
        for axes, baseline in zip(panels, against, strict=True):
            here = {v: found[batch, baseline, v] for v in versions if (batch, baseline, v) in found}
            lengths = [cell["T"] for cell in cells]
            for place, (version, points) in enumerate(here.items()):
                aside = place - (len(here) - 1) / 2  # keeps bars off one another
                nudged = [(_nudged(T, aside, lengths), m, a, b) for T, m, a, b in points]
                facets.line(axes, version, nudged)
            axes.axhline(1, color="#444444", linewidth=1)
            shown = [1.0, *(value for points in here.values() for _, value, _, _ in points)]
            scales.fit(axes, "y", shown, f"time of {named[baseline]} / time of the other")
            scales.lengths(axes, lengths)
            axes.set_title(f"over {named[baseline]}, batch {batch}")
    style.legend(facets.corner(places), {v: named[v] for v in versions if v != against[0]})
    foot = ["above 1 is faster", f"bars: paired {100 * level:.4g} % intervals over processes"]
    style.frame(figure, question, answer, [*foot, facets.hollow(every), footer(records)])
    return figure


def _nudged(T: float, steps: float, lengths: list[int]) -> float:
    """A place beside T, as far on a log axis as on a linear one."""
    if scales.far_apart(lengths):
        return T * 1.035**steps
    return T + 0.014 * steps * (max(lengths) - min(lengths))


def _points(
    cells: list[Record],
    baseline: str,
    version: str,
    judged: dict[tuple[int, int, str, str], Record],
    drift: dict[Work, Exponents],
    level: float,
) -> list[facets.Point]:
    """(T, ratio, low, high) of baseline time over version time, of rounds that both ran in.

    `judged` holds the verdicts' rows by batch, T, baseline and version; a pair that they lack is
    compared here, from its own spread alone.
    """
    points = []
    for T, here in by(measured(cells), "T").items():
        of = {cell["version"]: cell for cell in here}
        if baseline not in of or version not in of:
            continue
        if row := judged.get((here[0]["batch_size"], T, baseline, version)):
            found = row["speedup"], row["speedup_low"], row["speedup_high"]
        else:
            try:
                compared = compare_cells(of[baseline], of[version], drift, level=level)
            except UnpairedError:
                continue
            found = compared.ratio, compared.low, compared.high
        ratio, *ends = found
        low, high = (math.nan if end is None else end for end in ends)
        points.append((T, ratio, low, high))
    return points
