"""The numbers that a function of this room is given, checked. numpy only."""

from collections.abc import Sequence

import numpy as np


def as_samples(values: Sequence[float], what: str = "samples") -> np.ndarray:
    """`values` as a flat float64 array; ValueError if empty, nested or not finite."""
    try:
        x = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{what}: expected a flat list of numbers") from None
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"{what}: expected a flat, non-empty list, got shape {x.shape}")
    bad = np.flatnonzero(~np.isfinite(x))
    if bad.size:
        raise ValueError(f"{what}: value {bad[0]} is {x[bad[0]]}; every value must be finite")
    return x
