"""Latency against generation length: the whole, and per token."""

from __future__ import annotations

from math import nan

from matplotlib.figure import Figure

from kvbench.analysis import findings
from kvbench.records.names import names_of
from kvbench.records.record import Record, by, is_error, measured
from kvbench.report.figures import facets, scales, style
from kvbench.report.footer import footer


def draw(records: list[Record]) -> Figure:
    """Total time and time per token over T, two panels per batch size, with 95 % intervals."""
    first, whole = records[0], measured(records)
    question = f"How long does {first['pretrained']} take to generate with each cache?"
    if len(whole) < 2:
        return style.explained(question, f"{len(whole)} of {len(records)} cells measured", records)
    batches, named = by(records, "batch_size"), style.labels(records)
    figure, rows = facets.grid(len(batches), 2, width=3.9, height=style.tall(len(named), 3.0))
    drawn = []
    for (batch, cells), panels in zip(batches.items(), rows, strict=True):
        few = not facets.many(len(batches))
        titles = ("whole generation", "per token (whole time / T)") if few else ("whole", "a token")
        for axes, title, unit in zip(panels, titles, ("ms", "ms per token"), strict=True):
            points = {
                version: [_point(c, c["T"] if axes is panels[1] else 1) for c in measured(mine)]
                for version, mine in by(cells, "version").items()
            }
            for version in style.ordered(points):
                facets.line(axes, version, points[version])
            every = [point for mine in points.values() for point in mine]
            drawn += every
            scales.fit(axes, "y", [value for _, value, _, _ in every], unit, from_zero=True)
            scales.lengths(axes, [cell["T"] for cell in cells])
            axes.set_title(f"batch {batch}: {title}")
        for cell in filter(is_error, cells):
            style.mark_out_of_memory(panels[0], cell["T"], cell["version"])
    style.legend(facets.corner(rows), named)
    foot = [footer(records), f"prompt {first['prompt_length']}", facets.hollow(drawn)]
    foot += ["bars: 95 % intervals over processes"]
    foot += ["as the clock read them: the figure speedup compares versions"]
    style.frame(figure, question, findings.times(records, names_of(records)), foot)
    return figure


def _point(cell: Record, per: int) -> facets.Point:
    low, high = (cell["time_total_ms_interval"][end] for end in ("low", "high"))
    middle = cell["time_total_ms_median"]
    low, high = (nan, nan) if low is None else (min(low, middle), max(high, middle))
    return cell["T"], middle / per, low / per, high / per
