"""What caches are called, worked out from what a registry line or a record says. Stdlib only.

The name is the storage's, then `shared` where layers read the K and V of others, then how weights
were fitted to that: `int8`, `dense-shared`, `int8-shared-calibrated`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

FITTED = {"shared": "trained"}  # a weights variant -> its word, where that is another


def cache_name(cache: str, shared: bool, weights_variant: str | None = None) -> str:
    """The name of one cache: its module's, and what is done to the model beside it."""
    words = [cache.replace("_", "-")]
    words += ["shared"] if shared else []
    words += [FITTED.get(weights_variant, weights_variant)] if weights_variant else []
    return "-".join(words)


def cache_names(lines: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The name of each version, of records by version: of a name met again, with the version's own.

    A line has the keys `cache`, `cross_layer_sharing` and, if any, `weights_variant`. A cache from
    outside the package, a file, a dotted module or a study's description, is called as its version.
    """
    plain = {
        version: version
        if "." in line["cache"] or version == line["cache"]
        else cache_name(line["cache"], line["cross_layer_sharing"], line.get("weights_variant"))
        for version, line in lines.items()
    }
    seen: Counter[str] = Counter()
    names = {}
    for version, name in plain.items():
        names[version] = f"{name}-{version}" if seen[name] else name
        seen[name] += 1
    return names


def names_of(cells: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What each version among records of cells is called; of records without a cache, nothing."""
    return cache_names({cell["version"]: cell for cell in cells if "cache" in cell})
