"""The registry of versions: what each KV-cache optimisation is, as data.

Standard library only, so that the Snakefile can read it. A version is one line here; one that
needs its own storage adds a module under `kvbench/caches/` and names it in `cache`. Optional keys
and what they default to: `cache` (from the flags), `layer_map` (from the flags), `weights_variant`
(none: the preset's own weights), `fold` (none: a rotation of `kvbench.fold` folded into weights).

    python -m kvbench.versions      lists the registry
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

VERSIONS: dict[str, dict[str, Any]] = {
    "v0": {"description": "No cache (baseline)", "use_cache": False, "kv_cache_quant": False, "cross_layer_sharing": False},
    "v1": {"description": "KV-cache enabled", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": False},
    "v2": {"description": "KV-cache + INT8 quantization", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False},
    "v3": {"description": "KV-cache + cross-layer sharing", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": True},
    "v4": {"description": "KV-cache + INT8 + cross-layer sharing", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": True},
    "v5": {"description": "KV-cache + INT4 quantization", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False, "cache": "int4"},
    "v6": {"description": "KV-cache + INT4, keys by channel", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False, "cache": "int4_channel"},
    "v7": {"description": "KV-cache + INT8, keys by channel", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False, "cache": "int8_channel"},
    "v8": {"description": "KV-cache + INT4 less the mean", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False, "cache": "int4_centred"},
    "v9": {"description": "KV-cache + INT4, rotated (Hadamard)", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False, "cache": "int4_hadamard", "fold": "values"},
    "v10": {"description": "KV-cache + sliding window with sinks", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": False, "cache": "window"},
    "v11": {"description": "KV-cache + window with sinks, INT4 rotated", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False, "cache": "window_int4", "fold": "values"},
    # Sharing that works: the same cache and layer map as v3, and weights fitted to them (kvbench.sharing).
    "v12": {"description": "KV-cache + sharing, trained with it", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": True, "weights_variant": "shared"},
    "v13": {"description": "KV-cache + sharing, uptrained", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": True, "weights_variant": "uptrained"},
    "v14": {"description": "KV-cache + sharing, calibrated", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": True, "weights_variant": "calibrated"},
    "v15": {"description": "KV-cache + sharing, owner's queries", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": True, "weights_variant": "copied"},
    "v16": {"description": "KV-cache + INT8 + sharing, calibrated", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": True, "weights_variant": "calibrated"},
}  # fmt: skip


def get_version_config(version: str) -> dict[str, Any]:
    """The registry line of one version, as a copy. Raises ValueError naming the known ones."""
    if version not in VERSIONS:
        raise ValueError(f"unknown version {version!r}; known versions: {', '.join(VERSIONS)}")
    return dict(VERSIONS[version])


def get_use_cache(version: str) -> bool:
    """Whether decoding keeps K and V, or recomputes the whole sequence each step."""
    return bool(get_version_config(version)["use_cache"])


def get_kv_cache_quant(version: str) -> bool:
    """Whether K and V are stored as codes with scales."""
    return bool(get_version_config(version)["kv_cache_quant"])


def get_cross_layer_sharing(version: str) -> bool:
    """Whether odd layers read the K and V of the even layer below them."""
    return bool(get_version_config(version)["cross_layer_sharing"])


def cache_module(version: str) -> str:
    """The module under `kvbench.caches` that stores this version's K and V."""
    line = get_version_config(version)
    if "cache" in line:
        return str(line["cache"])
    if not line["use_cache"]:
        return "none"
    return "int8" if line["kv_cache_quant"] else "dense"


def layer_map(version: str) -> str:
    """The layer map, unless a study names another: `own` (every layer its own K/V), `pairs`, ..."""
    line = get_version_config(version)
    return str(line.get("layer_map", "pairs" if line["cross_layer_sharing"] else "own"))


def weights_variant(version: str) -> str | None:
    """How the version's weights are fitted to its layer map; None for the preset's own weights."""
    return get_version_config(version).get("weights_variant")


def load_model_for_version(
    version: str, preset: str, dtype: str = "bfloat16", weights: str | None = None, seed: int = 42
) -> tuple[nn.Module, dict[str, Any]]:
    """A model ready to run as one version: on CUDA where there is one, else CPU, in eval mode.

    `weights` is a safetensors file; without one the parameters are seeded random numbers, which
    time and weigh the same as trained ones. Returns (model, get_version_config(version)).
    Raises ValueError for an unknown version, preset or dtype.
    """
    from kvbench.models import build
    from kvbench.presets import get_preset

    line = get_version_config(version)
    shape, fold = get_preset(preset), line.get("fold")
    model = build(shape, layer_map(version), dtype, weights=weights, seed=seed, fold=fold)
    return model, line


def listing(markdown: bool = False) -> str:
    """The registry as a table, aligned for a terminal or in Markdown."""
    rows = [("version", "cache", "layer map", "description")]
    rows += [(v, cache_module(v), layer_map(v), VERSIONS[v]["description"]) for v in VERSIONS]
    if markdown:
        rows.insert(1, ("---",) * 4)
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n".join(f"{row[0]:8} {row[1]:14} {row[2]:10} {row[3]}" for row in rows)


if __name__ == "__main__":
    print(listing(markdown="--markdown" in sys.argv[1:]))
