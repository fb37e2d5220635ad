"""Two studies of many cells, measured apart: what all cells moved by, and each cell against it.

Two days differ by more than code: heat, neighbours, a new kernel. What moves all cells alike is the
days' (or a change that all of them share, which nothing here tells from it); a cell is judged by
how far it moved beside the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from kvbench.stats.moderated import fit
from kvbench.stats.paired import ONE_BLOCK, Comparison, check_share, from_error, log_medians

Processes = Mapping[int, Sequence[float]]  # replicate -> the samples of its process
FEWEST = 3  # cells that tell a shift
MANY = 8  # cells that tell the pace of a round, and how far cells scatter beside one another
OF_MEDIAN = np.pi / 2  # variance of a median over that of a mean, of normal values
OF_MAD = 1.4826  # standard deviation over median absolute deviation, of normal values
MOST_FREEDOM = 1000.0


@dataclass(frozen=True)
class Shift:
    """Median ratio of all cells, with an interval; None below FEWEST cells."""

    ratio: float
    low: float
    high: float
    cells: int


def compare_with_shift(
    cells: Sequence[tuple[Processes, Processes]], margin: float, level: float = 0.95
) -> tuple[Shift | None, list[Comparison]]:
    """The shift of all cells (a over b), and each cell's ratio over that of the others.

    Per cell, the samples of a's and of b's processes. Times are logs of medians; where there are
    MANY cells, less the pace of their round, the median over the study's cells of what each
    departs from its mean. Variances within cells are moderated: drawn to a common one as far as
    the cells' own agree with it (Smyth 2004, equations 6 to 11), which lends every cell the degrees
    of freedom of the others. To a cell's error come that of the shift, and what MANY cells
    scatter beside one another beyond their errors. Below FEWEST cells the ratios are as they are.
    """
    check_share("level", level)
    logs = [[_logs(cell[side]) for cell in cells] for side in (0, 1)]
    lost = 0.0
    if len(cells) >= MANY:
        logs = [_less_rounds(side) for side in logs]
        lost = OF_MEDIAN / len(cells)  # share of the degrees of freedom
    a, b = ([np.array(list(cell.values())) for cell in side] for side in logs)
    several = [i for i in range(len(cells)) if min(a[i].size, b[i].size) > 1]
    moved = np.array([x.mean() - y.mean() for x, y in zip(a, b, strict=True)])
    freedom = np.array([(a[i].size + b[i].size - 2) * (1 - lost) for i in several])
    within = np.array([a[i].var() * a[i].size + b[i].var() * b[i].size for i in several]) / freedom
    if len(several) >= FEWEST:
        within, freedom = _moderated(within, freedom)
    error2 = within * [1 / a[i].size + 1 / b[i].size for i in several]
    shift, relative = None, moved.copy()
    if len(several) >= FEWEST:
        known = moved[several]
        for place, i in enumerate(several):
            relative[i] -= np.median(np.delete(known, place))
        if len(several) >= MANY:
            apart2 = (OF_MAD * float(np.median(np.abs(known - np.median(known))))) ** 2
            error2 = error2 + max(0.0, apart2 - float(np.median(error2)))
        of_shift2 = OF_MEDIAN * float(np.median(error2)) / (len(several) - 1)
        shift = _shift(known, np.sqrt(of_shift2), level)
        error2 = error2 + of_shift2
    found = {
        i: from_error(
            float(relative[i]),
            float(np.sqrt(error2[place])),
            float(freedom[place]),
            min(a[i].size, b[i].size),
            margin,
            level,
        )
        for place, i in enumerate(several)
    }
    one = [
        Comparison(float(np.exp(x)), None, None, level, margin, 1, None, None, (), ONE_BLOCK)
        for x in moved
    ]
    return shift, [found.get(i, one[i]) for i in range(len(cells))]


def _shift(moved: np.ndarray, error: float, level: float) -> Shift:
    middle, half = float(np.median(moved)), -float(special.ndtri((1 - level) / 2)) * float(error)
    ratio, low, high = (float(np.exp(middle + sign * half)) for sign in (0, -1, 1))
    return Shift(ratio, low, high, moved.size)


def _logs(processes: Processes) -> dict[int, float]:
    """Log of each process's median."""
    values = log_medians(list(processes.values()), "cell")
    return dict(zip(processes, values.tolist(), strict=True))


def _less_rounds(study: list[dict[int, float]]) -> list[dict[int, float]]:
    """The logs of one study's cells less the pace of their rounds."""
    apart: dict[int, list[float]] = {}
    for cell in study:
        mean = float(np.mean(list(cell.values())))
        for r, value in cell.items():
            apart.setdefault(r, []).append(value - mean)
    pace = {r: float(np.median(values)) for r, values in apart.items()}
    return [{r: value - pace[r] for r, value in cell.items()} for cell in study]


def _moderated(variances: np.ndarray, freedom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances drawn to their common one, and their degrees of freedom with what it lends them."""
    positive = variances > 0
    if positive.sum() < FEWEST:
        return variances, freedom
    common, lent = fit(variances[positive], freedom[positive])
    lent = min(lent, MOST_FREEDOM)
    total = freedom + lent
    return (lent * common + freedom * variances) / total, np.minimum(total, MOST_FREEDOM)
