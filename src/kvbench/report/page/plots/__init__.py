"""The page's plots, as specifications: each from the records of one question."""

from __future__ import annotations

from kvbench.report.page.plots.cost import memory, tradeoff
from kvbench.report.page.plots.quality import retrieved
from kvbench.report.page.plots.spec import Plot
from kvbench.report.page.plots.speed import speedup, time
from kvbench.report.page.plots.why import attributed, phases, roofline
from kvbench.report.page.study import Study

DRAWN = (speedup, tradeoff, time, memory, retrieved, phases, attributed, roofline)


def plots(study: Study) -> list[Plot]:
    """Every plot, those last that this study has no numbers for: their caption says so."""
    every = [draw(study) for draw in DRAWN]
    return sorted(every, key=lambda plot: plot.spec is None)
