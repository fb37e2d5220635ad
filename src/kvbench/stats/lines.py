"""TPOT over depth: time = intercept + slope * depth, and where two such lines cross."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from kvbench.stats.paired import ONE_BLOCK, check_share, t_critical, t_interval
from kvbench.stats.samples import as_samples

TOO_CLOSE, BEYOND, NEVER = "too close to tell", "beyond the context", "never"


@dataclass(frozen=True)
class Line:
    """slope in ms per token per token of depth, intercept in ms per token (for times in ms).

    slopes and intercepts: one per block; the line is their mean. lost: degrees of freedom that a
    correction took from the blocks' deviations. The bounds are None where `reason` says why.
    """

    slope: float
    slope_low: float | None
    slope_high: float | None
    intercept: float
    intercept_low: float | None
    intercept_high: float | None
    level: float
    replicates: int
    depth_min: float
    depth_max: float
    slopes: tuple[float, ...]
    intercepts: tuple[float, ...]
    lost: float = 0.0
    reason: str | None = None


@dataclass(frozen=True)
class BreakEven:
    """Depth from which a is faster than b up to max_depth: 0 if always, None where `reason` says.

    From low to high the data allow it; a high of None is beyond max_depth, a low of None nowhere.
    reason: too close to tell, beyond the context (slower up to max_depth, nothing said of more),
    never (slower at every depth), faster only below a depth, or one block. extrapolated: depth lies
    outside the depths measured.
    """

    depth: float | None
    low: float | None
    high: float | None
    level: float
    extrapolated: bool
    reason: str | None = None


def fit_line(
    depths: Sequence[float],
    times_by_block: Sequence[Sequence[float]],
    level: float = 0.95,
    lost: float = 0.0,
) -> Line:
    """Fit each block's times over depth, then a t interval of slope and intercept over blocks.

    depths: (D,) tokens in the cache; times_by_block: (R, D), block r's time at each depth. Each
    fit is Theil and Sen's (1968), O(D^2): one disturbed step does not tilt it. The interval is
    of the spread between processes; the residuals of one process would make it too narrow.
    """
    check_share("level", level)
    x = as_samples(depths, "depths")
    if np.unique(x).size < 2:
        raise ValueError("depths: a line needs at least two different depths")
    if len(times_by_block) == 0:
        raise ValueError("times_by_block: no blocks; expected one list of times per replicate")
    fits = []
    for r, times in enumerate(times_by_block):
        y = as_samples(times, f"times_by_block, block {r}")
        if y.size != x.size:
            raise ValueError(f"times_by_block, block {r}: {y.size} times for {x.size} depths")
        fit = stats.theilslopes(y, x, method="joint")
        fits.append((fit.slope, fit.intercept))
    values = np.array(fits)
    n = len(values)
    mean, half = t_interval(values, level, lost) if n > 1 else (values[0], np.full(2, np.nan))
    bounds = [None if np.isnan(v) else float(v) for v in (*(mean - half), *(mean + half))]
    return Line(
        slope=float(mean[0]),
        slope_low=bounds[0],
        slope_high=bounds[2],
        intercept=float(mean[1]),
        intercept_low=bounds[1],
        intercept_high=bounds[3],
        level=level,
        replicates=n,
        depth_min=float(x.min()),
        depth_max=float(x.max()),
        slopes=tuple(values[:, 0].tolist()),
        intercepts=tuple(values[:, 1].tolist()),
        lost=lost,
        reason=ONE_BLOCK if n == 1 else None,
    )


def break_even(fit_a: Line, fit_b: Line, max_depth: float) -> BreakEven:
    """Depth in [0, max_depth] from which a is faster than b, from lines of the same blocks.

    The interval holds every depth at which a paired t test on the two lines' gap finds none
    (Fieller 1954): a crossing is a ratio of two noisy numbers, and has no standard error worth
    the name where the slopes are close. Words and number follow from the interval alone: a number
    where a is faster at max_depth and the data say so, whatever they say before. max_depth is the
    context: nothing beyond it is reported.
    """
    if fit_a.replicates != fit_b.replicates or fit_a.level != fit_b.level:
        raise ValueError("the two lines differ in blocks or level; fit both on the same rounds")
    if not 0 < max_depth < np.inf:
        raise ValueError(f"max_depth is {max_depth}; allowed: above 0")
    # (2, R): a minus b at depth 0, and what it gains on the way to max_depth; below 0 a is faster.
    gaps = np.array(
        [
            np.subtract(fit_a.intercepts, fit_b.intercepts),
            np.subtract(fit_a.slopes, fit_b.slopes) * max_depth,
        ]
    )
    start, gain = gaps.mean(axis=1)
    measured = max(fit_a.depth_min, fit_b.depth_min), min(fit_a.depth_max, fit_b.depth_max)

    def found(
        share: float | None, low: float | None, high: float | None, reason: str | None = None
    ) -> BreakEven:
        depth, low, high = (None if x is None else x * max_depth for x in (share, low, high))
        outside = bool(depth and not measured[0] <= depth <= measured[1])
        return BreakEven(depth, low, high, fit_a.level, outside, reason)

    if fit_a.replicates == 1:
        crosses = start + gain < 0
        return found(max(0.0, float(start / -gain)) if crosses else None, None, None, ONE_BLOCK)
    poly, ends = _undecided(gaps, fit_a.level, fit_a.lost + fit_b.lost)
    first = 0 if poly[2] <= 0 else np.sign(start)  # of the gap where it begins, and at max_depth
    last = 0 if poly.sum() <= 0 else np.sign(start + gain)
    if last < 0:
        if first < 0:
            return found(0.0, 0.0, 0.0)
        at = max(0.0, float(start / -gain)) if gain < 0 else 0.0
        ends.append(at)  # a zero that rounding took off the axis
        return found(at, 0.0 if first == 0 else min(ends), max(ends))
    if last > 0 and first > 0:
        apart = poly[0] > 0 and gain > 0  # the gap grows for good
        return found(None, None, None, NEVER if apart else BEYOND)
    if last > 0 and first < 0:
        until = float(-start / gain) * max_depth
        return found(None, None, None, f"faster only below {until:.0f}")
    if last > 0:  # and at first undecided: no depth from which a is faster up to max_depth
        return found(None, None, None, TOO_CLOSE)
    return found(None, ends[0] if first > 0 and ends else 0.0, None, TOO_CLOSE)


def _undecided(gaps: np.ndarray, level: float, lost: float) -> tuple[np.ndarray, list[float]]:
    """A square in the share of max_depth, at most 0 where the gap's t interval holds 0; its zeros.

    gaps: (2, R) at depth 0 and gained up to max_depth. The zeros are those from 0 to 1, sorted.
    """
    n = gaps.shape[1]
    freedom = n - 1 - lost
    reach = t_critical(level, freedom) ** 2 / n * (n - 1) / freedom
    mean = gaps.mean(axis=1)
    form = np.outer(mean, mean) - reach * np.cov(gaps)  # (mean gap)^2 - reach * (its variance)
    poly = np.array([form[1, 1], 2 * form[0, 1], form[0, 0]])
    zeros = np.roots(poly)
    return poly, sorted(float(x.real) for x in zeros if x.imag == 0 and 0 <= x.real <= 1)
