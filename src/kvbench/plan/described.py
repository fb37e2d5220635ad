"""Versions that a study describes itself: mappings among its `versions`, put into the registry.

`{name: k8v4, keys: int8, values: int4, group: 32}` becomes the version `k8v4`, for this process;
the study then names it. Jobs are given the description as a part of their cell. Light: no cache is
loaded here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kvbench import versions
from kvbench.costs.description import Description
from kvbench.costs.forward import head_dim
from kvbench.costs.layer_map import label, owners_in
from kvbench.costs.part import DescriptionError
from kvbench.files import Json
from kvbench.peers import PEERS
from kvbench.plan.config_types import Config
from kvbench.plan.refusal import ConfigError
from kvbench.plan.study import shape_of
from kvbench.shape import Shape

NAME = r"[A-Za-z][A-Za-z0-9_-]{0,79}"
TAKEN = ("v1-again", "v1-again2", "v1-plus5", *PEERS)  # controls' and peers', in the same places


def place(config: Json) -> Json:
    """The configuration with versions that it describes put into the registry, and named.

    Raises ConfigError for the first description that cannot be, and for a name that is taken.
    """
    named: dict[str, Json] = {}
    config = _placed(config, "versions", named)
    if isinstance(config.get("decode"), dict):
        config = config | {"decode": _placed(config["decode"], "decode.versions", named)}
    return config


def _placed(section: Json, key: str, named: dict[str, Json]) -> Json:
    listed = section.get("versions")
    if not isinstance(listed, list) or not any(isinstance(one, Mapping) for one in listed):
        return section
    found = [
        _one(f"{key}.{i}", dict(one), named) if isinstance(one, Mapping) else one
        for i, one in enumerate(listed)
    ]
    return section | {"versions": found}


def _one(key: str, given: Json, named: dict[str, Json]) -> str:
    """The version that one mapping describes, put into the registry."""
    name, layer_map = given.pop("name", None), given.pop("layer_map", None)
    if name is not None and (not isinstance(name, str) or not re.fullmatch(NAME, name)):
        raise ConfigError(
            f"config key '{key}.name' is {name!r}; allowed: at most 80 letters, digits, '_' and "
            "'-', beginning with a letter"
        )
    called = f" of {name}" if name else ""
    try:
        described = Description.of(given)
    except DescriptionError as error:
        raise ConfigError(f"config key '{key}.{error.key}'{called} {error.why}") from None
    if name is None and layer_map is None and (same := _same_as(described)):
        return same
    name = name or "-".join([described.name(), *([label(layer_map)] if layer_map else [])])
    if name in TAKEN:
        raise ConfigError(f"config key '{key}.name' is {name!r}, which is taken: choose another")
    line = described.data() | {"layer_map": layer_map}
    if named.setdefault(name, line) != line:
        raise ConfigError(f"config key '{key}.name' is {name!r}, which another description has")
    try:
        versions.add(name, _line(name, described, layer_map))
    except ValueError as error:
        raise ConfigError(f"config key '{key}.name': {error}") from None
    return name


def _same_as(described: Description) -> str | None:
    """The version of the registry that stores so, without sharing layers, if there is one."""
    if described == Description():
        return "v1"
    plain = (v for v, line in versions.VERSIONS.items() if not line["cross_layer_sharing"])
    return next((v for v in plain if versions.format_of(v) == described), None)


def _line(name: str, described: Description, layer_map: str | list[int] | None) -> versions.Version:
    """The registry line of a described cache."""
    line: versions.Version = {
        "description": f"KV-cache, {described.words()}",
        "use_cache": True,
        "kv_cache_quant": described.quantised,
        "cross_layer_sharing": layer_map not in (None, "own"),
        "cache": name,
        "format": described.data(),
    }
    if layer_map is not None and layer_map != "own":
        line["layer_map"] = layer_map
    return line


def check(config: Config, preset: str) -> None:
    """Head size, layers and windows of a preset that every version's storage takes."""
    shape = shape_of(config, preset)
    listed = dict.fromkeys([*config["versions"], *(config["decode"]["versions"] or [])])
    for version in listed:
        described = versions.format_of(version)
        if described is not None:
            _check_one(config, preset, shape, version, described)


def _check_one(
    config: Config, preset: str, shape: Shape, version: str, described: Description
) -> None:
    size = head_dim(shape)
    names = f"config key 'versions' names {version}, "
    try:
        described.check_head(size)
    except DescriptionError as error:
        raise ConfigError(
            f"{names}whose cache cannot hold rows of {size}, the head size of {preset}: {error}"
        ) from None
    try:
        apart = described.plain_layers(shape["n_layer"])
    except DescriptionError as error:
        raise ConfigError(f"{names}whose {error}, the layers of {preset}") from None
    windows, line = shape.get("windows") or [], versions.VERSIONS[version]
    try:
        owner = owners_in(config["layer_maps"].get(version) or versions.layer_map(version), shape)
    except ValueError as error:
        raise ConfigError(f"{names}whose layer_map does not fit {preset}: {error}") from None
    for layer in apart:
        if owner[layer] != layer:
            raise ConfigError(
                f"{names}whose dense_layers has {layer}, which keeps nothing in {preset}: it reads "
                f"the K and V of layer {owner[layer]}; name that one"
            )
    if windows and line.get("format") and line["cross_layer_sharing"]:
        for layer, source in enumerate(owner):
            if windows[layer] != windows[source]:
                raise ConfigError(
                    f"{names}whose layer_map has layer {layer} read layer {source}, but in "
                    f"{preset} they have the windows {windows[layer]} and {windows[source]} "
                    "(0 for none): share between layers of one window"
                )
    if described.key_bias == "split":
        _check_bias(shape, preset, names)


def _check_bias(shape: Shape, preset: str, names: str) -> None:
    """Keys with a bias that is known of every position."""
    llama = shape["arch"] == "llama"
    if not (shape.get("qkv_bias", False) if llama else shape.get("bias", True)):
        raise ConfigError(
            f"{names}whose key_bias is split, but keys of {preset} have no bias: leave it out"
        )
    if shape.get("qk_norm", "none") != "none":
        raise ConfigError(
            f"{names}whose key_bias is split, but {preset} norms its keys after the bias: leave it "
            "out"
        )
    if any(shape.get("windows") or []):
        raise ConfigError(
            f"{names}whose key_bias is split, which is not implemented for the sliding windows of "
            f"{preset}: leave it out"
        )
