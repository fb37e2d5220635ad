"""Tails, medians and flips, each against another way to the same number."""

from math import comb

import numpy as np
import pytest
from scipy import stats

from kvbench.stats.flips import mcnemar, share_interval
from kvbench.stats.order import median_interval, tail


def test_percentiles_are_numpy_s_and_stand_only_where_ten_values_lie_beyond():
    x = np.random.default_rng(0).exponential(size=10_000)
    found = tail(x.tolist())
    assert found["median"] == np.median(x) and found["max"] == x.max()
    assert found["p95"] == np.percentile(x, 95) and found["p99"] == np.percentile(x, 99)
    assert found["p99_9"] == np.quantile(x, 0.999)
    assert tail(x[:9999])["p99_9"] is None and tail(x[:1000])["p99"] is not None
    assert tail(x[:999])["p99"] is None and tail(x[:200])["p95"] is not None
    few = tail(x[:199])
    assert few["p95"] is None and few["median"] == np.median(x[:199])


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (6, 0), (3, 3), (2, 9), (30, 12)])
def test_mcnemar_is_the_binomial_sum_and_symmetric(lost, gained):
    n, least = lost + gained, min(lost, gained)
    closed = min(1, 2 * sum(comb(n, k) for k in range(least + 1)) / 2**n)
    assert mcnemar(lost, gained) == pytest.approx(closed, rel=1e-12)
    assert mcnemar(gained, lost) == mcnemar(lost, gained)


def test_mcnemar_refuses_counts_below_zero():
    with pytest.raises(ValueError, match="lost is -1"):
        mcnemar(-1, 2)


@pytest.mark.parametrize(("count", "of"), [(0, 12), (1, 12), (7, 12), (12, 12), (3, 400)])
def test_an_interval_of_a_share_is_the_exact_one(count, of):
    expected = stats.binomtest(count, of).proportion_ci(0.95, "exact")
    assert share_interval(count, of) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("counts", [(3, 2), (-1, 4), (0, 0)])
def test_no_share_of_too_few(counts):
    with pytest.raises(ValueError, match="no share"):
        share_interval(*counts)


def test_an_interval_of_a_median_needs_six_values_and_holds_its_level():
    assert median_interval([5, 1, 4, 2, 3]) == (3.0, None, None)
    assert median_interval([6, 5, 1, 4, 2, 3]) == (3.5, 1.0, 6.0)
    assert median_interval([7.0] * 9) == (7.0, 7.0, 7.0)
    rng = np.random.default_rng(1)
    held = 0
    for x in rng.exponential(size=(2000, 15)):
        _, low, high = median_interval(x)
        held += low <= np.log(2) <= high
    assert 0.95 <= held / 2000 <= 0.975  # the exact coverage at 15 values is 96.5 %
