"""From comparisons to verdicts, and the smallest difference that this machine detects.

How many replicates: the difference found four times in five by one comparison at alpha 0.05
and, in brackets, by the only difference among forty cells, for a spread of block ratios:

    spread     3 blocks       5 blocks       10 blocks      15 blocks
    0.5 %      1.7 % (11)     0.8 % (2.3)    0.5 % (0.9)    0.4 % (0.7)
    1.5 %      5.0 % (36)     2.6 % (7.0)    1.5 % (2.8)    1.2 % (2.0)
    3 %       10.3 % (86)     5.2 % (14)     3.0 % (5.6)    2.4 % (4.0)

So ten for a study that is to see 5 %, five for a first look, three only for large effects.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from kvbench.stats.paired import Comparison, at, check_share

FASTER, SLOWER, EQUIVALENT, INCONCLUSIVE = "faster", "slower", "equivalent", "inconclusive"


@dataclass(frozen=True)
class Verdict:
    """A word about a against b, beside the very interval of the ratio a / b it was read from."""

    word: str
    ratio: float
    low: float | None
    high: float | None
    level: float
    margin: float
    replicates: int
    p_adjusted: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Detectable:
    """`relative` (0.03 is 3 %) is found with probability `power` at `replicates` blocks.

    It is the only difference among `of` comparisons.
    """

    relative: float
    sd: float
    replicates: int
    alpha: float
    power: float
    of: int = 1


def verdicts(
    comparisons: Sequence[Comparison], alpha: float = 0.05, margin: float | None = None
) -> list[Verdict]:
    """One word per comparison, with multiplicity over all of them controlled.

    The word is read off the interval shown: equivalent where it lies within the margin, else
    faster or slower where it excludes 1, else inconclusive. All intervals of the list have one
    level, 1 - k * alpha / m, where m is the number of comparisons and k the largest number of
    them that are conclusive at that level. This is Benjamini and Hochberg's step-up rule on the
    smallest alpha at which each comparison is conclusive, with the intervals that Benjamini and
    Yekutieli (2005) give to what was selected: of the words other than inconclusive, at most a
    share alpha is expected to be wrong, for independent comparisons or ones that err together
    (they share their baseline). Holm would bound the chance of one wrong word instead; it has
    no intervals that simply agree with it, and asks alpha / m of the clearest comparison before
    it looks at the next. `margin` replaces the comparisons' own.
    A comparison of one replicate is inconclusive and counts for nothing.
    """
    check_share("alpha", alpha)
    family = list(comparisons)
    if margin is not None:
        family = [at(c, margin, c.level) for c in family]
    p = {i: q for i, c in enumerate(family) if (q := _conclusive_at(c)) is not None}
    adjusted = stats.false_discovery_control(list(p.values()), method="bh") if p else np.empty(0)
    found = max(1, int((adjusted <= alpha).sum()))
    level = 1 - alpha * found / max(1, len(p))
    p_adjusted = dict(zip(p, adjusted.tolist(), strict=True))
    return [_read(c, level, p_adjusted.get(i)) for i, c in enumerate(family)]


def _conclusive_at(c: Comparison) -> float | None:
    """Smallest alpha whose 1 - alpha interval excludes 1 or lies within the margin."""
    if c.p_difference is None or c.p_equivalence is None:
        return None
    # The 1 - 2 alpha interval is the one that pairs with two one-sided tests at alpha.
    return min(c.p_difference, 2 * c.p_equivalence, 1.0)


def _read(c: Comparison, level: float, p_adjusted: float | None) -> Verdict:
    c = at(c, c.margin, level)
    word = INCONCLUSIVE
    if c.low is not None and c.high is not None:
        if 1 / (1 + c.margin) < c.low and c.high < 1 + c.margin:
            word = EQUIVALENT
        elif c.high < 1:
            word = FASTER
        elif c.low > 1:
            word = SLOWER
    return Verdict(
        word, c.ratio, c.low, c.high, c.level, c.margin, c.replicates, p_adjusted, c.reason
    )


def smallest_detectable(
    comparisons: Sequence[Comparison],
    replicates: int | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    of: int = 1,
) -> Detectable:
    """Smallest slow-down that comparisons with this spread find with probability `power`.

    The spread is the standard error of one block's log ratio, pooled over the `comparisons`; what
    is found is a paired t test at alpha / `of`, in the right direction, at `replicates` blocks (the
    fewest of the comparisons if None). That is what `verdicts` ask of the only difference among
    `of` comparisons; with more differences the level is milder. Raises ValueError if no comparison
    has two blocks.
    """
    several = [c for c in comparisons if c.replicates > 1]
    if not several:
        raise ValueError("no comparison with two or more replicates to take the spread from")
    blocks = np.array([c.replicates for c in several])
    freedom = np.array([c.freedom for c in several], dtype=float)
    variances = blocks * np.array([c.error for c in several], dtype=float) ** 2
    sd = float(np.sqrt(np.average(variances, weights=freedom)))
    n = int(blocks.min()) if replicates is None else replicates
    lost = float((blocks - 1 - freedom).mean())
    return Detectable(_detectable(sd, n, alpha / of, power, lost), sd, n, alpha, power, of)


def replicates_needed(
    relative: float, sd: float, alpha: float = 0.05, power: float = 0.8, most: int = 100
) -> int | None:
    """Fewest blocks that find a `relative` slow-down at this spread; None if above `most`."""
    counts = range(2, most + 1)  # the more blocks, the less is found
    n = bisect_left(counts, True, key=lambda n: _detectable(sd, n, alpha, power) <= relative)
    return counts[n] if n < len(counts) else None


def _detectable(sd: float, n: int, alpha: float, power: float, lost: float = 0.0) -> float:
    check_share("alpha", alpha)
    check_share("power", power)
    if n < 2:
        raise ValueError(f"replicates is {n}; a paired test needs at least 2")
    freedom = n - 1 - lost
    critical = -special.stdtrit(freedom, alpha / 2)
    # Under an effect d the t statistic is noncentral t with noncentrality d sqrt(n) / sd.
    shift = optimize.brentq(
        lambda shift: 1 - _noncentral(critical, freedom, shift) - power, 0, 10 * critical + 10
    )
    return float(np.expm1(min(shift * sd / np.sqrt(n), 700)))  # JSON knows no infinity


def _noncentral(t: float, freedom: float, shift: float) -> float:
    """Distribution function of noncentral t."""
    found = float(special.nctdtr(freedom, shift, t))
    return 0.0 if np.isnan(found) else found  # it is no number where it underflows
