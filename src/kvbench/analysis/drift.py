"""Cells compared with the machine's drift taken out, by regression on the yardstick beside them.

A machine that is slower by a factor s makes a run slower by s ** b. The exponent b is estimated
from the cells' own processes, and each run is brought to the pace that the yardstick had on
average: the regression estimate of a mean with an auxiliary variable (Cochran 1977, chapter 7), on
logs. What a version does sets its exponent, since work that waits for memory feels a neighbour
more than work that computes, but not by much: versions share one exponent, from which each departs
as far as its own processes show (a ridge regression, Hoerl and Kennard 1970, whose penalties are
the spreads below). Where readings say nothing of the runs it stays near 0, which is the clock. What
the estimate takes from the residuals is paid for in degrees of freedom. numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from kvbench.analysis.rounds import rounds
from kvbench.records.read import judged_by, measured
from kvbench.stats.paired import Comparison, compare, from_log_ratios

Record = dict[str, Any]
Name = tuple[Any, ...]  # a version, beside which work
SAME = ("execution", "kernel", "linear")  # what makes readings of two cells the same work
SHARED, OWN = 1.0, 0.2  # standard deviations of the shared exponent, and of one version's from it
LEAST = 3  # processes of a cell below which its times are compared as the clock read them


@dataclass(frozen=True)
class Exponents:
    """How far times follow the yardstick's: one exponent a name, their covariance, the noise.

    noise: variance of a process's log time about the regression; covariance: (names, names).
    """

    names: tuple[Name, ...]
    values: np.ndarray
    covariance: np.ndarray
    noise: float


def exponents(cells: Sequence[Record]) -> dict[Name, Exponents]:
    """The exponents of each kind of work (benchmark, execution, kernels), by deviations in cells.

    Of a process's log time on its log reading, each less its cell's mean. A kind without two
    degrees of freedom, as two processes of one cell have, is left out: its times go by the clock.
    """
    groups: dict[Name, list[tuple[Name, np.ndarray]]] = {}
    for cell in measured(cells):
        logs = [(np.median(readings), np.median(runs)) for readings, runs in _logs(cell).values()]
        if len(logs) >= LEAST:
            apart = np.array(logs) - np.mean(logs, axis=0)  # (processes, 2)
            groups.setdefault(_work(cell), []).append((_name(cell), apart))
    return {work: found for work, group in groups.items() if (found := _fit(group))}


def _fit(group: list[tuple[Name, np.ndarray]]) -> Exponents | None:
    """Ridge estimates of one kind of work from (name, deviations) of its cells."""
    names = tuple(dict.fromkeys(name for name, _ in group))
    spread, product = np.zeros(len(names)), np.zeros(len(names))
    square, freedom = 0.0, -1
    for name, apart in group:
        readings, runs = apart.T
        spread[names.index(name)] += readings @ readings
        product[names.index(name)] += readings @ runs
        square += float(runs @ runs)
        freedom += len(apart) - 1
    if freedom < 2 or not spread.sum() > 0:
        return None
    noise = (square - product.sum() ** 2 / spread.sum()) / freedom  # about one shared slope
    noise = max(noise, 1e-12 * square)  # times that follow exactly still have a covariance
    if noise == 0:
        return None
    prior = SHARED**2 + OWN**2 * np.eye(len(names))
    # Posterior of a normal model: the inverse of what the prior and the data know, added up.
    covariance = np.linalg.inv(np.linalg.inv(prior) + np.diag(spread) / noise)
    return Exponents(names, covariance @ product / noise, covariance, noise)


def compare_cells(
    a: Record,
    b: Record,
    of: dict[Name, Exponents],
    margin: float = 0.02,
    level: float = 0.95,
    by_clock: bool = False,
) -> Comparison:
    """Ratio a / b of two cells' times, by rounds: at one pace where `uses_yardstick`, else as is.

    Each round's log ratio is of medians over runs brought to the mean pace of both cells. The
    interval has the exponents' own errors, and the degrees of freedom that they leave. Raises
    NotSideBySide where the cells share no round.
    """
    shared = rounds(a, b).replicates
    if by_clock or not uses_yardstick(a, b, of):
        times = [_times(cell) for cell in (a, b)]
        return compare(*([side[r] for r in shared] for side in times), margin=margin, level=level)
    logs = [_logs(cell) for cell in (a, b)]
    found = of[_work(a)]
    own = [found.names.index(_name(cell)) for cell in (a, b)]
    paces = np.array([[np.median(side[r][0]) for r in shared] for side in logs])  # (2, rounds)
    pace = paces.mean()
    steady = [
        [np.median(side[r][1] - found.values[i] * (side[r][0] - pace)) for r in shared]
        for side, i in zip(logs, own, strict=True)
    ]
    weights = np.zeros(len(found.names))  # of each exponent in the mean log ratio
    np.add.at(weights, own, (paces.mean(axis=1) - pace) * (1, -1))
    # The residuals of the ratios less what the exponents took: E |e|^2 is the noise of two sides,
    # n - 1 times, less the trace of the fit's covariance over the readings' deviations.
    apart = (paces - paces.mean(axis=1, keepdims=True)) * [[1], [-1]]
    taken = (apart @ apart.T * found.covariance[np.ix_(own, own)]).sum()
    lost = float(taken) / (2 * found.noise)
    extra = float(weights @ found.covariance @ weights)
    return from_log_ratios(np.subtract(*steady), margin, level, extra, lost)


def uses_yardstick(a: Record, b: Record, of: dict[Name, Exponents]) -> bool:
    """Whether both timed the same work beside each process, often enough to know how it follows."""
    found = of.get(_work(a))
    known = found is not None and all(_name(cell) in found.names for cell in (a, b))
    return (
        known
        and _work(a) == _work(b)
        and all("yardstick_ms" in p for cell in (a, b) for p in cell["processes"])
    )


def _work(cell: Record) -> Name:
    """What makes the readings of two cells the same work."""
    return (cell["benchmark_name"], *(cell.get(key) for key in SAME))


def _name(cell: Record) -> Name:
    return (cell["version"],)


def where(cell: Record) -> str:
    """A cell in words: `v2 at batch 1, T 8`."""
    length = f"T {cell['T']}" if "T" in cell else f"depth {cell['depth']}"
    return f"{cell['version']} at batch {cell['batch_size']}, {length}"


def _times(cell: Record) -> dict[int, list[float]]:
    """Milliseconds of each run, by replicate. Raises ValueError naming the cell of a bad one."""
    return {
        p["replicate"]: _positive([run[judged_by(cell)] for run in p["runs"]], "a run", cell, p)
        for p in cell["processes"]
    }


def _logs(cell: Record) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Per replicate: log ms of the yardstick beside each run, and of the run. Empty without one.

    Beside a run: the geometric mean of the readings before and after it.
    """
    found, times = {}, _times(cell)
    for process in cell["processes"]:
        if "yardstick_ms" in process:
            told = _positive(process["yardstick_ms"], "a reading of the yardstick", cell, process)
            beside = [(before + after) / 2 for before, after in pairwise(np.log(told))]
            r = process["replicate"]
            found[r] = (np.array(beside), np.log(times[r]))
    return found


def _positive(values: Sequence[Any], what: str, cell: Record, process: Record) -> list[float]:
    """The values; ValueError, naming cell and process, where one is no positive number."""
    for value in values:
        if not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise ValueError(
                f"{where(cell)}, replicate {process['replicate']}: {what} took {value} ms; allowed "
                "is a number above 0: delete that sample and measure it again"
            )
    return list(values)
