"""When a study has measured enough: by the width of its intervals, or by its time.

A rule that looked at the words would find one sooner or later. Width alone is nearly blind to them,
but stops where the spread happens to look small: at 95 % and from three rounds on, a single
comparison of two equal versions then got a word in up to 9.6 % of 20,000 simulated studies. From
FIRST rounds on and with intervals and words at 1 - ALPHA, false words came to (3,000 to 10,000
studies each, wanted half-width 2 %, at most 40 rounds, spread of block log ratios 1 to 5 %):

    comparisons    normal noise    Student-3 noise
    1              2.9-5.1 %       2.1-4.1 %
    2              3.0-3.5 %       1.8-2.9 %
    4              2.9-3.9 %       1.2-2.2 %
    8              2.6-3.2 %       1.5-1.9 %

A time budget looks at no result, and costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kvbench.stats.paired import Comparison, at

FIRST = 5  # rounds before the first look
ALPHA = 0.03  # of intervals and words of a study that stops by their width


@dataclass(frozen=True)
class Next:
    """Whether to measure another round, and why (not)."""

    another: bool
    reason: str


def decide(
    rounds: int,
    widest: float,
    half_width: float,
    minutes_a_round: float = 0.0,
    minutes_left: float = math.inf,
) -> Next:
    """Whether a study goes on: until every interval is narrow enough, or its time is over.

    widest: the half-width of the widest interval at 1 - ALPHA, at which the study's words are to be
    read too; half_width: the widest allowed; both relative (0.02 is 2 %). A round is measured where
    it fits into the time left. Raises ValueError for a half-width that is not above 0.
    """
    if not 0 < half_width < math.inf:
        raise ValueError(f"half_width is {half_width}; allowed: above 0 (0.02 is 2 %)")
    if rounds >= FIRST and widest <= half_width:
        return Next(False, f"every interval is within {100 * half_width:.3g} %")
    if minutes_a_round > minutes_left:
        return Next(False, "no time is left for another round")
    if rounds < FIRST:
        return Next(True, f"{rounds} rounds of at least {FIRST}")
    return Next(True, f"the widest interval is {100 * widest:.3g} %, not {100 * half_width:.3g} %")


def half_width_of(c: Comparison) -> float:
    """Relative half-width of a ratio's interval at 1 - ALPHA; infinite without one."""
    read = at(c, c.margin, 1 - ALPHA)
    if read.low is None or read.high is None:
        return math.inf
    return math.expm1((math.log(read.high) - math.log(read.low)) / 2)
