"""Variances drawn towards one another: of rows that agree, of unlike ones, and of enough blocks."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from kvbench.stats.moderated import ENOUGH, fit, moderated
from kvbench.stats.paired import at, from_log_ratios

MARGIN, LEVEL = 0.02, 0.95


def rows(spreads, n=3, seed=0):
    """Comparisons of n processes of these standard deviations, without a true difference."""
    rng = np.random.default_rng(seed)
    return [from_log_ratios((sd * rng.normal(size=n)).tolist(), MARGIN, LEVEL) for sd in spreads]


@pytest.mark.parametrize(("location", "freedom"), [(0.3, 4.0), (2.0, 12.0)])
def test_the_fit_finds_the_distribution_that_variances_were_drawn_from(location, freedom):
    rng = np.random.default_rng(1)
    true = location * freedom / rng.chisquare(freedom, 20_000)
    own = np.full(20_000, 2.0)
    found = fit(true * rng.chisquare(2, 20_000) / 2, own)
    assert found == pytest.approx((location, freedom), rel=0.25)


def test_variances_that_differ_by_chance_alone_have_one_location():
    location, freedom = fit(np.full(6, 0.5), np.full(6, 2.0))
    assert freedom == np.inf
    bias = np.exp(special.digamma(1.0))  # E log of a mean of two squares, less log of its mean
    assert location == pytest.approx(0.5 / bias)


def test_a_row_of_three_processes_has_three_degrees_of_freedom_among_its_like():
    before = rows([0.01] * 5)
    after = moderated(before)
    assert [c.freedom for c in after] == pytest.approx([3.0] * 5)
    spread = [np.ptp(np.log([c.error for c in found])) for found in (before, after)]
    assert spread[1] < spread[0] / 2
    assert [c.ratio for c in after] == [c.ratio for c in before]


def test_unlike_rows_gain_little_freedom_and_the_widest_keeps_its_width():
    before = rows([1e-6, 1e-3, 0.5, 30.0])
    after = moderated(before)
    assert all(2 <= c.freedom < 2.2 for c in after)
    assert after[-1].error == pytest.approx(before[-1].error, rel=0.1)
    assert after[0].error > before[0].error


@pytest.mark.parametrize("n", [5, 8])
def test_enough_processes_go_by_their_own_spread(n):
    before = rows([0.01] * 6, n)
    assert n - 1 >= ENOUGH
    assert moderated(before) == before


def test_few_rows_exact_ones_and_single_processes_stay_as_they_are():
    three = rows([0.01] * 3)
    assert moderated(three) == three
    exact = from_log_ratios([0.1, 0.1, 0.1], MARGIN, LEVEL)
    single = from_log_ratios([0.1], MARGIN, LEVEL)
    found = moderated([exact, single, *three])
    assert found == [exact, single, *three]
    found = moderated([exact, single, *rows([0.01] * 4)])
    assert found[:2] == [exact, single] and found[2].freedom == pytest.approx(3.0)


def test_intervals_of_alike_rows_hold_the_truth_as_often_as_they_say_and_are_narrower():
    held, widths = [], []
    for seed in range(400):
        before = rows([0.02] * 4, seed=seed)
        read = [[at(c, MARGIN, LEVEL) for c in found] for found in (before, moderated(before))]
        held += [c.low <= 1 <= c.high for c in read[1]]
        widths.append([np.mean([np.log(c.high / c.low) for c in found]) for found in read])
    before, after = np.median(widths, axis=0)
    assert after < 0.9 * before
    assert stats.binomtest(sum(held), len(held), 0.95).pvalue > 1e-3 or np.mean(held) > 0.95


def test_an_interval_is_read_from_the_moderated_error_it_was_read_from():
    (one, *_) = moderated(rows([0.01] * 4))
    read = at(one, MARGIN, 0.9)
    half = -special.stdtrit(one.freedom, 0.05) * one.error
    assert np.log(read.high) - np.log(read.ratio) == pytest.approx(half)
    assert replace(read, level=one.level).log_ratios == one.log_ratios
