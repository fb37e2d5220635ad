"""TPOT over depth: time = intercept + slope * depth, and where two such lines cross."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from kvbench.stats.paired import ONE_BLOCK, check_share, t_critical, t_interval
from kvbench.stats.samples import as_samples

TOO_CLOSE = "the lines are too close to tell"


@dataclass(frozen=True)
class Line:
    """slope in ms per token per token of depth, intercept in ms per token (for times in ms).

    slopes and intercepts: one per block; the line is their mean. The bounds are None where
    `reason` says why.
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
    reason: str | None = None


@dataclass(frozen=True)
class BreakEven:
    """Depth from which a is faster than b: 0 if always, None if not by max_depth (`reason`).

    From low to high the data allow a break-even; None stands for "beyond max_depth", or for one
    block (`reason`). extrapolated: depth lies outside the depths measured.
    """

    depth: float | None
    low: float | None
    high: float | None
    level: float
    extrapolated: bool
    reason: str | None = None


def fit_line(
    depths: Sequence[float], times_by_block: Sequence[Sequence[float]], level: float = 0.95
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
    mean, half = t_interval(values, level) if n > 1 else (values[0], np.full(2, np.nan))
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
        reason=ONE_BLOCK if n == 1 else None,
    )


def break_even(fit_a: Line, fit_b: Line, max_depth: float) -> BreakEven:
    """Depth in [0, max_depth] from which a is faster than b, from lines of the same blocks.

    The interval holds every depth at which a paired t test on the two lines' gap finds none
    (Fieller 1954): a crossing is a ratio of two noisy numbers, and has no standard error worth
    the name where the slopes are close. max_depth is the context: nothing beyond it is reported.
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
    if start < 0 <= start + gain:
        until = float(-start / gain)
        low, high = _undecided(gaps, until, fit_a.level)
        only = f"faster only below {until * max_depth:.0f}" if low and high else TOO_CLOSE
        return BreakEven(None, None, None, fit_a.level, False, fit_a.reason or only)
    share = depth = None
    if start + gain < 0:
        share = float(start / -gain) if start > 0 else 0.0
        depth = share * max_depth
    low, high = _undecided(gaps, share, fit_a.level)
    measured_from = max(fit_a.depth_min, fit_b.depth_min)
    measured_to = min(fit_a.depth_max, fit_b.depth_max)
    return BreakEven(
        depth=depth,
        low=None if low is None else low * max_depth,
        high=None if high is None else high * max_depth,
        level=fit_a.level,
        extrapolated=bool(depth and not measured_from <= depth <= measured_to),
        reason="none within the context" if depth is None else fit_a.reason,
    )


def _undecided(
    gaps: np.ndarray, share: float | None, level: float
) -> tuple[float | None, float | None]:
    """First and last share of max_depth at which the gap's t interval holds 0, None past 1.

    share: where the break-even was found, or None; it always counts.
    """
    n = gaps.shape[1]
    if n == 1:
        return None, None
    reach = t_critical(level, n) ** 2 / n
    mean = gaps.mean(axis=1)
    # (mean gap)^2 - reach * (its variance), a square in the share x: 0 is outside where it is > 0.
    form = np.outer(mean, mean) - reach * np.cov(gaps)
    poly = np.array([form[1, 1], 2 * form[0, 1], form[0, 0]])
    roots = np.roots(poly)
    ends = [float(x.real) for x in roots if x.imag == 0 and 0 <= x.real <= 1]
    ends += [] if share is None else [share]
    low = 0.0 if poly[2] <= 0 else min(ends, default=None)
    high = max(ends, default=None) if poly.sum() > 0 else None
    return low, high
