"""A promise of the statistics, and the rate at which simulated studies keep it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Rng = np.random.Generator


@dataclass(frozen=True)
class Scenario:
    """`once(rng)` gives one study's share (or None: nothing to count); their mean is the rate."""

    name: str
    promised: str
    once: Callable[[Rng], float | None]
    low: float  # the rate is to lie from low
    high: float  # to high
    studies: int = 400


@dataclass(frozen=True)
class Found:
    """A rate and its standard error over the studies that counted."""

    rate: float
    error: float
    studies: int


def simulate(scenario: Scenario, seed: int, share: float = 1.0) -> Found:
    """The mean over `share` of the scenario's studies, each with a generator of its own."""
    n = max(2, round(share * scenario.studies))
    rngs = (np.random.default_rng([seed, number]) for number in range(n))
    shares = [found for rng in rngs if (found := scenario.once(rng)) is not None]
    if not shares:
        raise ValueError(f"{scenario.name}: none of {n} studies counted")
    count, total = len(shares), sum(shares)
    near = (total + 2) / (count + 4)  # Agresti and Coull 1998: no rate is known without error
    return Found(total / count, float(np.sqrt(near * (1 - near) / (count + 4))), count)
