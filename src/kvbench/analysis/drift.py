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
from typing import Any

import numpy as np

from kvbench.analysis.rounds import rounds, side_by_side
from kvbench.records.record import Record, measured, readings_ms, times_ms
from kvbench.stats.paired import Comparison, compare, from_log_ratios

Work = tuple[Any, ...]  # what makes the readings of two cells the same: benchmark and SAME
SAME = ("execution", "kernel", "linear")  # what makes readings of two cells the same work
SHARED, OWN = 1.0, 0.2  # standard deviations of the shared exponent, and of one version's from it
LEAST = 3  # processes of a cell below which its times are compared as the clock read them


@dataclass(frozen=True)
class Exponents:
    """How far times follow the yardstick's: one exponent a version, their covariance, the noise.

    noise: variance of a process's log time about the regression; covariance: (versions, versions).
    """

    versions: tuple[str, ...]
    values: np.ndarray
    covariance: np.ndarray
    noise: float


def exponents(cells: Sequence[Record]) -> dict[Work, Exponents]:
    """The exponents of each kind of work (benchmark, execution, kernels), by deviations in cells.

    Of a process's log time on its log reading, each less its cell's mean. A kind without two
    degrees of freedom, as two processes of one cell have, is left out: its times go by the clock.
    """
    groups: dict[Work, list[tuple[str, np.ndarray]]] = {}
    for cell in measured(cells):
        logs = [(np.median(readings), np.median(runs)) for readings, runs in _logs(cell).values()]
        if len(logs) >= LEAST:
            apart = np.array(logs) - np.mean(logs, axis=0)  # (processes, 2)
            groups.setdefault(_work(cell), []).append((cell["version"], apart))
    return {work: found for work, group in groups.items() if (found := _fit(group))}


def _fit(group: list[tuple[str, np.ndarray]]) -> Exponents | None:
    """Ridge estimates of one kind of work from (version, deviations) of its cells."""
    versions = tuple(dict.fromkeys(version for version, _ in group))
    readings_ss, product = np.zeros(len(versions)), np.zeros(len(versions))
    square, freedom = 0.0, -1
    for version, apart in group:
        readings, runs = apart.T
        readings_ss[versions.index(version)] += readings @ readings
        product[versions.index(version)] += readings @ runs
        square += float(runs @ runs)
        freedom += len(apart) - 1
    if freedom < 2 or not readings_ss.sum() > 0:
        return None
    noise = (square - product.sum() ** 2 / readings_ss.sum()) / freedom  # about one shared slope
    noise = max(noise, 1e-12 * square)  # times that follow exactly still have a covariance
    if noise == 0:
        return None
    prior = SHARED**2 + OWN**2 * np.eye(len(versions))
    # Posterior of a normal model: the inverse of what the prior and the data know, added up.
    covariance = np.linalg.inv(np.linalg.inv(prior) + np.diag(readings_ss) / noise)
    return Exponents(versions, covariance @ product / noise, covariance, noise)


def compare_cells(
    a: Record,
    b: Record,
    of: dict[Work, Exponents],
    margin: float = 0.02,
    level: float = 0.95,
    by_clock: bool = False,
) -> Comparison:
    """Ratio a / b of two cells' times, by rounds: at one pace where `uses_yardstick`, else as is.

    Each round's log ratio is of medians over runs brought to the mean pace of both cells. The
    interval has the exponents' own errors, and the degrees of freedom that they leave. Raises
    UnpairedError where the cells share no round.
    """
    a, b = side_by_side(a, b)
    shared = rounds(a, b).replicates
    if by_clock or not uses_yardstick(a, b, of):
        blocks = [[_times(cell)[r] for r in shared] for cell in (a, b)]
        return compare(blocks[0], blocks[1], margin, level)
    logs = [_logs(cell) for cell in (a, b)]
    found = of[_work(a)]
    own = [found.versions.index(cell["version"]) for cell in (a, b)]
    paces = np.array([[np.median(side[r][0]) for r in shared] for side in logs])  # (2, rounds)
    pace = paces.mean()
    medians = [
        [np.median(side[r][1] - found.values[i] * (side[r][0] - pace)) for r in shared]
        for side, i in zip(logs, own, strict=True)
    ]
    weights = np.zeros(len(found.versions))  # of each exponent in the mean log ratio
    np.add.at(weights, own, (paces.mean(axis=1) - pace) * (1, -1))
    # The residuals of the ratios less what the exponents took: E |e|^2 is the noise of two sides,
    # n - 1 times, less the trace of the fit's covariance over the readings' deviations.
    apart = (paces - paces.mean(axis=1, keepdims=True)) * [[1], [-1]]
    taken = (apart @ apart.T * found.covariance[np.ix_(own, own)]).sum()
    lost = float(taken) / (2 * found.noise)
    extra = float(weights @ found.covariance @ weights)
    return from_log_ratios(np.subtract(medians[0], medians[1]).tolist(), margin, level, extra, lost)


@dataclass(frozen=True)
class Paced:
    """What brings each run of a cell to the pace of its round, by replicate: (runs,) factors.

    lost: the degrees of freedom that the exponent took from the processes' deviations.
    """

    factors: dict[int, np.ndarray]
    lost: float


def to_round_pace(cells: Sequence[Record]) -> list[Paced]:
    """Factors for the runs of each cell: to its round's mean pace, over the cells of one place.

    Versions of a place (batch, and T or depth) then met the same machine in each round. What the
    rounds and places have apart stays, and is part of the spread between rounds: readings at two
    places are of different work, so that no yardstick tells it from the places' own difference. All
    factors of a place are 1 where not every cell there has the same yardstick.
    """
    of = exponents(cells)
    places: dict[tuple[Any, ...], list[int]] = {}
    for number, cell in enumerate(cells):
        key = (cell["batch_size"], cell.get("T"), cell.get("depth"))
        places.setdefault(key, []).append(number)
    found: dict[int, Paced] = {}
    for numbers in places.values():
        here = [cells[number] for number in numbers]
        if not all(uses_yardstick(here[0], cell, of) for cell in here):
            for number, cell in zip(numbers, here, strict=True):
                runs = {p["replicate"]: len(p["runs"]) for p in cell["processes"]}
                found[number] = Paced({r: np.ones(n) for r, n in runs.items()}, 0.0)
            continue
        fit, logs = of[_work(here[0])], [_logs(cell) for cell in here]
        shared = sorted(set.intersection(*map(set, logs)))
        paces = np.array([[np.median(side[r][0]) for r in shared] for side in logs])
        mean = paces.mean(axis=0)  # of each round
        deviations = paces - mean
        for number, side, own in zip(numbers, logs, deviations, strict=True):
            i = fit.versions.index(cells[number]["version"])
            square = float(((own - own.mean()) ** 2).sum()) if shared else 0.0
            factors = {
                r: np.exp(-fit.values[i] * (side[r][0] - at))
                for r, at in zip(shared, mean, strict=True)
            }
            found[number] = Paced(factors, square * float(fit.covariance[i, i]) / fit.noise)
    return [found[number] for number in range(len(cells))]


def uses_yardstick(a: Record, b: Record, of: dict[Work, Exponents]) -> bool:
    """Whether both timed the same work beside each process, often enough to know how it follows."""
    found = of.get(_work(a))
    known = found is not None and all(cell["version"] in found.versions for cell in (a, b))
    return (
        known
        and _work(a) == _work(b)
        and all("yardstick_ms" in p for cell in (a, b) for p in cell["processes"])
    )


def _work(cell: Record) -> Work:
    """What makes the readings of two cells the same work.

    A yardstick's steps are run operator by operator where the version's are one native call.
    """
    same = {key: cell.get(key) for key in SAME}
    if same["execution"] == "step":
        same["execution"] = "eager"
    return (cell["benchmark_name"], *same.values())


def where(cell: Record) -> str:
    """A cell in words: `v2 at batch 1, T 8`."""
    length = ", ".join(f"{k} {cell[k]}" for k in ("T", "depth", "phase", "P") if k in cell)
    return f"{cell['version']} at batch {cell['batch_size']}, {length}"


def _times(cell: Record) -> dict[int, list[float]]:
    """Milliseconds of each run, by replicate. Raises ValueError naming the cell of a bad one."""
    times = times_ms(cell)
    return {r: _positive(ms, "a run", cell, r) for r, ms in times.items()}


def _logs(cell: Record) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Per replicate: log ms of the yardstick beside each run, and of the run. Empty without one."""
    read = {p["replicate"]: p for p in cell["processes"] if "yardstick_ms" in p}
    times = _times(cell) if read else {}
    found = {}
    for r, process in read.items():
        _positive(process["yardstick_ms"], "a reading of the yardstick", cell, r)
        found[r] = (np.log(readings_ms(process) or []), np.log(times[r]))
    return found


def _positive(values: Sequence[Any], what: str, cell: Record, r: int) -> list[float]:
    """The values; ValueError, naming cell and process, where one is no positive number."""
    for value in values:
        if not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise ValueError(
                f"{where(cell)}, replicate {r}: {what} took {value} ms; allowed "
                "is a number above 0: delete that sample and measure it again"
            )
    return list(values)
