"""Cells and pairs of versions. The unit of replication is a fresh process, never a sample.

A cell is a list of blocks, one per replicate, each the raw samples of one process. Block r of
every version ran in the same interleaved round, so drift of the machine hits them alike and
cancels in the per-block log ratio.

Intervals are Student's t over the R block values, on logs. At the few blocks a benchmark can
afford, the bootstraps that need no such shape are too narrow or too wide. Coverage of nominal
95 % intervals of the ratio, lowest and highest over eight settings of 2000 simulated runs each
(machine drifts in a random walk or a slow sine; process noise normal, Student-3, log-normal
or with one process in twenty disturbed), and width against t:

     R    t on logs        percentile bootstrap    BCa                     studentised
     3    94.6-96.4 %      72.4-76.0 %  x 0.38     71.0-73.7 %  x 0.36     79.8-82.5 %  x 0.68
     5    94.9-96.5 %      81.5-85.3 %  x 0.62     80.5-84.8 %  x 0.64     94.0-95.9 %  x 1.34
     8    94.5-96.5 %      87.1-89.5 %  x 0.76     85.4-88.2 %  x 0.78     93.5-94.7 %  x 1.10
    10    94.6-97.0 %      89.2-90.5 %  x 0.82     84.9-90.8 %  x 0.83     93.2-95.0 %  x 1.07
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special  # Student's t itself: scipy.stats takes a second to import

from kvbench.stats.samples import as_samples

Blocks = Sequence[Sequence[float]]
ONE_BLOCK = "one replicate: nothing tells the spread between processes (set replicates >= 5)"


@dataclass(frozen=True)
class Interval:
    """A cell's value in the samples' unit; low and high are None where `reason` says why."""

    point: float
    low: float | None
    high: float | None
    level: float
    replicates: int
    reason: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Ratio a / b (below 1: a is the faster); None where `reason` says why.

    log_ratios: one per block, natural log; none for processes that were not paired. p_difference:
    of "the ratio is 1". p_equivalence: of "the ratio lies outside [1 / (1 + margin), 1 + margin]".
    error, freedom: the standard error of log(ratio) and its degrees of freedom.
    """

    ratio: float
    low: float | None
    high: float | None
    level: float
    margin: float
    replicates: int
    p_difference: float | None
    p_equivalence: float | None
    log_ratios: tuple[float, ...]
    reason: str | None = None
    error: float | None = None
    freedom: float | None = None


def t_interval(x: np.ndarray, level: float, lost: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Mean and half-width over axis 0 (blocks, at least two) at confidence `level`.

    `lost`: degrees of freedom that a correction took from the blocks' deviations.
    """
    n = x.shape[0]
    freedom = n - 1 - lost
    variance = np.square(x - x.mean(axis=0)).sum(axis=0) / freedom
    return x.mean(axis=0), t_critical(level, freedom) * np.sqrt(variance / n)


def t_critical(level: float, freedom: float) -> float:
    """Half-width, in standard errors, of the two-sided t interval of a mean."""
    return -float(special.stdtrit(freedom, (1 - level) / 2))


def check_share(name: str, value: float) -> None:
    """ValueError unless 0 < value < 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; allowed: above 0 and below 1")


def log_medians(blocks: Blocks, what: str) -> np.ndarray:
    """Natural log of each block's median, shape (R,); ValueError on a sample <= 0."""
    if len(blocks) == 0:
        raise ValueError(f"{what}: no blocks; expected one list of samples per replicate")
    medians = np.empty(len(blocks))
    for r, samples in enumerate(blocks):
        x = as_samples(samples, f"{what}, block {r}")
        if x.min() <= 0:
            raise ValueError(f"{what}, block {r}: sample {x.min()} must be positive")
        medians[r] = np.median(x)
    return np.log(medians)


def interval(blocks: Blocks, level: float = 0.95) -> Interval:
    """Median of the replicates' medians, with a t interval on their logs.

    Coverage of 95 % in the noises above without drift: 93.7-96.6 % at 2 to 10 replicates. Where
    the machine drifts from block to block, blocks are neighbours in time, not independent
    draws: compare versions with `compare`, never by whether two of these overlap. One replicate
    gives no interval, only a reason.
    """
    check_share("level", level)
    logs = log_medians(blocks, "cell")
    point = float(np.exp(np.median(logs)))
    if logs.size == 1:
        return Interval(point, None, None, level, 1, ONE_BLOCK)
    mean, half = t_interval(logs, level)
    low, high = _exp(mean - half), _exp(mean + half)
    # From 7 blocks on the median can fall outside an interval centred on the mean.
    return Interval(point, min(low, point), max(high, point), level, logs.size)


def compare(
    a_blocks: Blocks, b_blocks: Blocks, margin: float = 0.02, level: float = 0.95
) -> Comparison:
    """Ratio a / b from per-block ratios of medians, with a t interval and both p-values.

    Block r of `a_blocks` and of `b_blocks` must come from the same round. The ratio is the
    geometric mean of the block ratios, so a / b and b / a are exact inverses, and so are the
    ends of their intervals. Raises ValueError on unpaired blocks or samples that are not
    positive.
    """
    if len(a_blocks) != len(b_blocks):
        raise ValueError(
            f"a has {len(a_blocks)} blocks and b has {len(b_blocks)}; versions are compared within "
            "blocks: pass only the rounds that both finished"
        )
    return from_log_ratios(log_medians(a_blocks, "a") - log_medians(b_blocks, "b"), margin, level)


def from_log_ratios(
    log_ratios: Sequence[float],
    margin: float,
    level: float,
    variance: float = 0.0,
    lost: float = 0.0,
) -> Comparison:
    """The comparison whose blocks gave these log ratios (natural log of a / b).

    `variance` is what their mean has besides that of the blocks; `lost`, the degrees of freedom
    that a correction took from their residuals. p_equivalence is the larger of the two one-sided t
    tests (Schuirmann 1987).
    """
    check_share("level", level)
    if not 0 <= margin < np.inf:
        raise ValueError(f"margin is {margin}; allowed: 0 and above (0.02 is 2 %)")
    logs = as_samples(log_ratios, "log ratios")
    raw, n = tuple(logs.tolist()), logs.size
    if n == 1:
        ratio = float(np.exp(logs.mean()))
        return Comparison(ratio, None, None, level, margin, 1, None, None, raw, ONE_BLOCK)
    freedom = n - 1 - lost
    if not freedom > 0:
        raise ValueError(f"lost is {lost}; {n} blocks have {n - 1} degrees of freedom")
    residual = float(np.square(logs - logs.mean()).sum()) / freedom
    error = float(np.sqrt(residual / n + variance))
    return from_error(float(logs.mean()), error, freedom, n, margin, level, raw)


def at(c: Comparison, margin: float, level: float) -> Comparison:
    """The same comparison read at another margin and level."""
    if c.error is None or c.freedom is None:
        return replace(c, margin=margin, level=level)
    mean = math.log(c.ratio)
    return from_error(mean, c.error, c.freedom, c.replicates, margin, level, c.log_ratios)


def from_error(
    mean: float,
    error: float,
    freedom: float,
    replicates: int,
    margin: float,
    level: float,
    logs: tuple[float, ...] = (),
) -> Comparison:
    """A comparison whose log ratio has this mean and standard error; `logs` are those of pairs."""
    half = t_critical(level, freedom) * error
    distance = abs(mean)
    to_edge = math.log1p(margin) - distance
    p = special.stdtr(freedom, [-_in_errors(distance, error), -_in_errors(to_edge, error)])
    return Comparison(
        ratio=_exp(mean),
        low=_exp(mean - half),
        high=_exp(mean + half),
        level=level,
        margin=margin,
        replicates=replicates,
        p_difference=float(2 * p[0]),
        p_equivalence=float(p[1]),
        log_ratios=logs,
        error=error,
        freedom=freedom,
    )


def _exp(log: float) -> float:
    # Two noisy blocks at an adjusted level span hundreds of orders of magnitude: stay finite.
    return float(np.exp(np.clip(log, -700, 700)))


def _in_errors(distance: float, error: float) -> float:
    # Byte counts repeat exactly: no spread, so any distance is infinitely many errors.
    if error == 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / error
