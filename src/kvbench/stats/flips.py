"""Right and wrong answers of two systems to the same items. numpy and scipy.special."""

from __future__ import annotations

from scipy import special  # the distribution functions alone: scipy.stats takes a second to import

from kvbench.stats.paired import check_share


def mcnemar(lost: int, gained: int) -> float:
    """p of McNemar's exact test (1947): the items right in one system alone are a fair coin's.

    `lost` items are right in the first system alone, `gained` in the second alone. Two-sided, twice
    the smaller tail of the binomial distribution and at most 1; 1 where no item differs.
    """
    if min(lost, gained) < 0:
        raise ValueError(f"lost is {lost} and gained {gained}; allowed: 0 and above")
    return min(1.0, 2 * float(special.bdtr(min(lost, gained), lost + gained, 0.5)))


def share_interval(count: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share, `count` of `of` items, that holds its level for any true share.

    Of Clopper and Pearson (1934): by quantiles of the beta distribution, never too narrow.
    """
    check_share("level", level)
    if not 0 <= count <= of or not of:
        raise ValueError(f"{count} of {of}: no share; allowed: 0 to {of} of 1 and more")
    error = (1 - level) / 2
    low = float(special.betaincinv(count, of - count + 1, error)) if count else 0.0
    high = float(special.betaincinv(count + 1, of - count, 1 - error)) if count < of else 1.0
    return low, high
