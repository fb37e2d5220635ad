"""The registry of versions: what each KV-cache optimisation is, as data.

Standard library only, so that the Snakefile can read it. A version is one line here; one that
stores K and V otherwise names a line of FORMATS in `cache`, or a module under `kvbench/caches/`.
`NAMES` has what each version is called; a name does wherever a version's number does.

    python -m kvbench.versions      lists the registry
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

from kvbench.costs.description import Description
from kvbench.costs.layer_map import label
from kvbench.files import Json
from kvbench.records.names import cache_names

if TYPE_CHECKING:
    from kvbench.models.base import LanguageModel

WEIGHTS = Path("resources/weights")  # of the project that is worked in


class Version(TypedDict):
    """A line of the registry."""

    description: str
    use_cache: bool
    kv_cache_quant: bool
    cross_layer_sharing: bool
    cache: NotRequired[str]  # by default none, dense or int8, as the flags say
    format: NotRequired[Json]  # of a cache that a study describes
    layer_map: NotRequired[str | list[int]]  # by default pairs where layers share, else own
    weights_variant: NotRequired[str]  # how weights are fitted to the layer map
    added: NotRequired[bool]  # from outside; may be replaced


VERSIONS: dict[str, Version] = {
    "v0": {"description": "No cache (baseline)", "use_cache": False, "kv_cache_quant": False, "cross_layer_sharing": False},
    "v1": {"description": "KV-cache enabled", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": False},
    "v2": {"description": "KV-cache + INT8 quantization", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False},
    "v3": {"description": "KV-cache + cross-layer sharing", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": True},
    "v4": {"description": "KV-cache + INT8 + cross-layer sharing", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": True},
    "v5": {"description": "KV-cache + INT4 quantization", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False, "cache": "int4"},
    "v6": {"description": "KV-cache + INT4, keys by channel", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False, "cache": "int4_channel"},
    "v7": {"description": "KV-cache + INT8, keys by channel", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False, "cache": "int8_channel"},
    "v8": {"description": "KV-cache + INT4 less the mean", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False, "cache": "int4_centred"},
    "v9": {"description": "KV-cache + INT4, rotated (Hadamard)", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False, "cache": "int4_hadamard"},
    "v10": {"description": "KV-cache + sliding window with sinks", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": False, "cache": "window"},
    "v11": {"description": "KV-cache + window with sinks, INT4 rotated", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False, "cache": "window_int4"},
    # Sharing that works: the same cache and layer map as v3, and weights fitted to them.
    # See kvbench.inputs.share_kv.
    "v12": {"description": "KV-cache + sharing, trained with it", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": True, "weights_variant": "shared"},
    "v13": {"description": "KV-cache + sharing, uptrained", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": True, "weights_variant": "uptrained"},
    "v14": {"description": "KV-cache + sharing, calibrated", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": True, "weights_variant": "calibrated"},
    "v15": {"description": "KV-cache + sharing, owner's queries", "use_cache": True, "kv_cache_quant": False, "cross_layer_sharing": True, "weights_variant": "copied"},
    "v16": {"description": "KV-cache + INT8 + sharing, calibrated", "use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": True, "weights_variant": "calibrated"},
}  # fmt: skip


WINDOW = {"window": 252, "sinks": 4}
# What a version's `cache` is, as a description (`kvbench.costs.description`): types of keys and values.
FORMATS: dict[str, Json] = {
    "int8": {"keys": "int8", "values": "int8"},
    "int4": {"keys": "int4", "values": "int4"},
    "int4_channel": {"keys": {"type": "int4", "scale": "channel"}, "values": "int4"},
    "int8_channel": {"keys": {"type": "int8", "scale": "channel"}, "values": "int8"},
    "int4_centred": {"keys": "int4", "values": "int4", "centred": True},
    "int4_hadamard": {"keys": "int4", "values": "int4", "rotate": "folded"},
    "window": WINDOW,
    "window_int4": {**WINDOW, "keys": "int4", "values": "int4", "rotate": "folded"},
}


def _cache_name(line: Version) -> str:
    if "cache" in line:
        return line["cache"]
    if not line["use_cache"]:
        return "none"
    return "int8" if line["kv_cache_quant"] else "dense"


# version -> what it is called: dense, int8, int8-shared, ...
NAMES = cache_names({v: {**line, "cache": _cache_name(line)} for v, line in VERSIONS.items()})
BY_NAME = {name: version for version, name in NAMES.items()}


def add(version: str, line: Version) -> None:
    """Put a cache from outside into the registry, under a name of its own, in place of an earlier.

    Raises ValueError for a name of the registry's own.
    """
    known = VERSIONS.get(BY_NAME.get(version, version))
    if known is not None and not known.get("added"):
        raise ValueError(f"{version!r} is a version already: name the cache otherwise")
    VERSIONS[version] = line | {"added": True}
    NAMES[version] = BY_NAME[version] = version


def version_of(name: str) -> str:
    """The version that a name or a number means. Raises ValueError naming the known ones."""
    version = BY_NAME.get(name, name)
    if version not in VERSIONS:
        known = f"{', '.join(VERSIONS)}, or by name {', '.join(BY_NAME)}"
        raise ValueError(f"unknown version {name!r}; known versions: {known}")
    return version


def get_version_config(version: str) -> Version:
    """The registry line of one version, as a copy. Raises ValueError naming the known ones."""
    return VERSIONS[version_of(version)].copy()


def get_use_cache(version: str) -> bool:
    """Whether decoding keeps K and V, or recomputes the whole sequence each step."""
    return bool(get_version_config(version)["use_cache"])


def get_kv_cache_quant(version: str) -> bool:
    """Whether K and V are stored as codes with scales."""
    return bool(get_version_config(version)["kv_cache_quant"])


def get_cross_layer_sharing(version: str) -> bool:
    """Whether odd layers read the K and V of the even layer below them."""
    return bool(get_version_config(version)["cross_layer_sharing"])


def cache_name(version: str) -> str:
    """What the storage of this version's K and V is called: a format, a module, or a file."""
    return _cache_name(get_version_config(version))


def format_of(version: str) -> Description | None:
    """What the version stores, as a description; None where a module of its own does."""
    line = get_version_config(version)
    given = line.get("format") or FORMATS.get(_cache_name(line))
    return None if given is None else Description.of(given)


def storage(version: str) -> str | Json:
    """What `kvbench.caches.make` makes the version's cache of: a description, or a name."""
    described = format_of(version)
    return cache_name(version) if described is None else described.data()


def cache_module(version: str) -> str:
    """The module under `kvbench.caches`, or the file, whose code stores this version's K and V."""
    described = format_of(version)
    return cache_name(version) if described is None else described.module


def fold(version: str) -> str | None:
    """The rotation of `kvbench.models.rotation` that is folded into the version's weights."""
    described = format_of(version)
    return None if described is None else described.fold


def layer_map(version: str) -> str | list[int]:
    """The layer map, unless a study names another: `own` (every layer its own K/V), `pairs`, ..."""
    line = get_version_config(version)
    return line.get("layer_map", "pairs" if line["cross_layer_sharing"] else "own")


def weights_variant(version: str) -> str | None:
    """How the version's weights are fitted to its layer map; None for the preset's own weights."""
    return get_version_config(version).get("weights_variant")


def load_model_for_version(
    version: str, preset: str, dtype: str = "bfloat16", weights: str | None = None, seed: int = 42
) -> tuple[LanguageModel, Version]:
    """A model ready to run as one version: on CUDA where there is one, else CPU, in eval mode.

    `kvbench.engine.generate.generate(model, prompt, n)` decodes through the version's own cache,
    which `model.new_cache(batch, tokens)` makes. `preset` is a preset's name, or a directory of
    Hugging Face's. `weights` is a safetensors file; without one the parameters are the directory's,
    or seeded random numbers, which time and weigh the same as trained ones. A version
    of a `weights_variant` takes the file that the workflow fitted to it, where the preset's own
    weights are not random. Returns (model, get_version_config(version)).
    Raises ValueError for an unknown version, preset or dtype, FileNotFoundError where fitted
    weights are not made yet.
    """
    from kvbench.models.build import build
    from kvbench.models.hf_config import read_shape
    from kvbench.models.hf_files import CONFIG
    from kvbench.presets import PRESETS, get_preset

    line = get_version_config(version)
    if Path(preset).is_dir() and preset not in PRESETS:
        shape, own, preset = read_shape(Path(preset) / CONFIG), preset, Path(preset).name
    else:
        shape, own = get_preset(preset), None
    fitted = weights_variant(version) and shape.get("weights") != "random"
    if weights is None:
        weights = fitted_weights(version, preset) if fitted else own
    model = build(shape, layer_map(version), dtype, weights=weights, seed=seed, fold=fold(version))
    model.storage = storage(version)
    return model, line


def fitted_weights(version: str, preset: str, folder: Path = WEIGHTS) -> str:
    """The one file of weights under `folder` fitted to the version's own layer map.

    Raises FileNotFoundError, with what makes it, where there is none, and ValueError for several.
    """
    name = f"*.{weights_variant(version)}-{label(layer_map(version))}.safetensors"
    found = sorted(map(str, (folder / preset).glob(name)))
    if not found:
        raise FileNotFoundError(
            f"{version} runs on weights fitted to its layer map, {folder / preset / name}, which "
            "are not made yet: run `snakemake --cores 1 perplexity --config "
            f"pretrained={preset} versions=[v1,{version}]`, or give weights="
        )
    if len(found) > 1:
        raise ValueError(f"several files fit {version}: give one as weights=: {', '.join(found)}")
    return found[0]


def listing(markdown: bool = False) -> str:
    """The registry as a table, aligned for a terminal or in Markdown."""
    rows = [("version", "name", "layer map", "description")]
    rows += [(v, NAMES[v], label(layer_map(v)), VERSIONS[v]["description"]) for v in VERSIONS]
    if markdown:
        rows.insert(1, ("---",) * 4)
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n".join(f"{row[0]:8} {row[1]:23} {row[2]:10} {row[3]}" for row in rows)


def main() -> None:
    """The command line: the registry as a table."""
    parser = argparse.ArgumentParser(
        prog="python -m kvbench.versions", description="List the versions there are."
    )
    parser.add_argument("--markdown", action="store_true", help="as a Markdown table")
    shown = listing(parser.parse_args().markdown)
    try:
        print(shown, flush=True)
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
