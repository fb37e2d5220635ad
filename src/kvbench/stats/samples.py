"""What one process recorded, in a few numbers. numpy only: measuring jobs import it."""

from collections.abc import Sequence

import numpy as np

PERCENTILES = 90, 95, 99


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


def summary(samples: Sequence[float]) -> dict[str, float | int | None]:
    """Describe the raw samples of one process, in the samples' own unit; nothing is dropped.

    `std` has ddof=1 and is None for one sample. The q-quantile is None below 10 / (1 - q)
    samples (100 for p90, 1000 for p99): fewer than ten samples lie beyond it, so it would be
    little more than the maximum. Raises ValueError on an empty or non-finite list.
    """
    x = as_samples(samples)
    n = x.size
    stats = {
        "n": n,
        "median": float(np.median(x)),
        "mean": float(x.mean()),
        "std": float(x.std(ddof=1)) if n > 1 else None,
        "min": float(x.min()),
        "max": float(x.max()),
    }
    for p in PERCENTILES:  # integers: 10 / (1 - 0.9) is a hair above 100
        stats[f"p{p}"] = float(np.percentile(x, p)) if n * (100 - p) >= 1000 else None
    return stats
