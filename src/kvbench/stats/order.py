"""Order statistics: the tail of a sample, and an interval of its median."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special  # the distribution functions alone: scipy.stats takes a second to import

from kvbench.stats.paired import check_share
from kvbench.stats.samples import as_samples

TAIL = {"median": 50.0, "p95": 95.0, "p99": 99.0, "p99_9": 99.9}


def tail(values: Sequence[float]) -> dict[str, float | None]:
    """Median, p95, p99, p99.9 and largest of `values`, interpolated linearly, in their own unit.

    A percentile beyond the median is None where fewer than ten values lie beyond it (200 values for
    p95, 10,000 for p99.9): it would be little more than the largest.
    """
    x = as_samples(values)
    found: dict[str, float | None] = {}
    for name, q in TAIL.items():
        enough = q <= 50 or round(x.size * (100 - q), 6) >= 1000
        found[name] = float(np.percentile(x, q)) if enough else None
    return found | {"max": float(x.max())}


def median_interval(
    values: Sequence[float], level: float = 0.95
) -> tuple[float, float | None, float | None]:
    """The median and its interval, free of any distribution: the k-th smallest to k-th largest.

    k is the largest for which fewer than k of n values lie below the median with a probability of
    at most (1 - level) / 2, by the binomial distribution (the inverted sign test). Ends are None
    where even the smallest and the largest are too close: below 6 values at 95 %.
    """
    check_share("level", level)
    x = np.sort(as_samples(values))
    below = special.bdtr(np.arange(x.size), x.size, 0.5)
    k = int(np.searchsorted(below, (1 - level) / 2, side="right"))
    ends = (float(x[k - 1]), float(x[-k])) if k else (None, None)
    return float(np.median(x)), *ends
