"""Times of one version over depth or batch, at their rounds' pace: what lines are fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from kvbench.analysis.drift import Paced, to_round_pace
from kvbench.records.record import Record

MOST = 64  # depths fitted: Theil and Sen's line takes the slope of every two of them


@dataclass(frozen=True)
class Points:
    """One version's times: x (depths or batch sizes), and per process the ms at each x.

    Times are at the pace of their round; lost: degrees of freedom that this took.
    """

    x: list[int]
    times: dict[int, list[float]]
    cells: list[Record]
    lost: float


def pace_by_cell(cells: Sequence[Record]) -> dict[int, Paced]:
    """What brings each cell's runs to their round's pace, by the cell's identity."""
    return {id(cell): paced for cell, paced in zip(cells, to_round_pace(cells), strict=True)}


def of_generation(cell: Record, pace: dict[int, Paced]) -> Points:
    """At most MOST steps, evenly spread; step i attends to prompt_length + i tokens."""
    last = min(cell["T"] - 1, cell["model_config"]["block_size"] - cell["prompt_length"])
    n = min(last, MOST)
    steps = [1 + round(k * (last - 1) / (n - 1)) for k in range(n)] if n > 1 else []
    own = pace[id(cell)]
    times = {
        r: [median(step) for step in zip(*runs, strict=True)]
        for r, runs in _scaled(cell, own, lambda run: [run["step_ms"][i] for i in steps]).items()
    }
    return Points([cell["prompt_length"] + i for i in steps], times, [cell], own.lost)


def of_steps(cells: Sequence[Record], axis: str, pace: dict[int, Paced]) -> Points:
    """Decode cells along one axis; a step over D cached tokens attends to D + 1."""
    line = sorted(cells, key=lambda cell: cell[axis])
    of = [
        {
            r: median(ms for (ms,) in runs)
            for r, runs in _scaled(cell, pace[id(cell)], lambda run: [run["tpot_ms"]]).items()
        }
        for cell in line
    ]
    shared = set.intersection(*map(set, of))
    x = [cell[axis] + (axis == "depth") for cell in line]
    times = {r: [times[r] for times in of] for r in sorted(shared)}
    return Points(x, times, line, fmean(pace[id(cell)].lost for cell in line))


def _scaled(
    cell: Record, pace: Paced, times_of: Callable[[Record], list[float]]
) -> dict[int, list[list[float]]]:
    """Per process, the times of each run at the pace of its round."""
    return {
        p["replicate"]: [
            [float(ms * factor) for ms in times_of(run)]
            for run, factor in zip(p["runs"], pace.factors[p["replicate"]], strict=True)
        ]
        for p in cell["processes"]
        if p["replicate"] in pace.factors
    }
