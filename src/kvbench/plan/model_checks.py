"""The models of a configuration: weights that fit, heads that caches hold, layer maps."""

from __future__ import annotations

from pathlib import Path

from kvbench.benchmarks import BENCHMARKS
from kvbench.costs.layer_map import owners_in
from kvbench.models import hf_files
from kvbench.plan import described, weights_check
from kvbench.plan.config_types import Config
from kvbench.plan.file_checks import is_file
from kvbench.plan.refusal import ConfigError
from kvbench.plan.study import CUSTOM, WEIGHT_KINDS, known_presets, shape_of, weights_source
from kvbench.presets import HUB_PRESETS, PRESETS
from kvbench.shape import Shape
from kvbench.versions import VERSIONS

WEIGHT_SOURCES = ("auto", "random", "hub")


def check_models(config: Config) -> None:
    """Weights and heads of every preset that is measured."""
    if isinstance(config["weights"], dict):
        known = known_presets(config)
        for preset in sorted(config["weights"].keys() - known):
            raise ConfigError(
                f"config key 'weights.{preset}' is unknown: presets: {', '.join(known)}"
            )
    asked = any(BENCHMARKS[name].scored for name in config["benchmarks"])
    scored = config["perplexity"]["presets"] if asked else []
    for preset in dict.fromkeys([*config["pretrained"], *scored]):
        _check_weights(config, preset)
        described.check(config, preset)


def _check_weights(config: Config, preset: str) -> None:
    """A source that the preset has, or a file that is there."""
    source = weights_source(config, preset)
    if source == "hub" and preset not in HUB_PRESETS:
        raise ConfigError(
            f"config key 'weights' is hub for preset {preset!r}; "
            f"allowed with presets {', '.join(HUB_PRESETS)}"
        )
    if source in ("trained", "gguf") and source != shape_of(config, preset)["weights"]:
        raise ConfigError(
            f"config key 'weights' is {source} for preset {preset!r}; "
            f"allowed with presets {_having(source)}"
        )
    if preset in config["models"] and Path(source).is_dir():
        _check_directory(config, preset, source)
        return
    if source not in WEIGHT_KINDS and not is_file(source):
        raise ConfigError(
            f"config key 'weights' is {source!r} for preset {preset!r}; allowed: "
            f"{', '.join(WEIGHT_SOURCES)} or the path of an existing safetensors file"
        )
    if source not in WEIGHT_KINDS and Path(source).suffix != ".safetensors":
        raise ConfigError(
            f"config key 'weights' is {source!r} for preset {preset!r}; allowed: a .safetensors "
            f"file; convert it once: python -m kvbench.models.convert {source} FILE.safetensors"
        )
    if source not in WEIGHT_KINDS:
        asked = config["model_config"]["activation"] if preset == CUSTOM else None
        shape: Shape = {**shape_of(config, preset), "activation": asked}
        if why := weights_check.problem(source, preset, shape, config["dtype"]):
            alone = f"; for a preset of its own: weights: {{PRESET: {source}}}"
            several = isinstance(config["weights"], str) and len(config["pretrained"]) > 1
            raise ConfigError(
                f"config key 'weights' is {source!r} for preset {preset!r}: {why}"
                + alone * (several or preset not in config["pretrained"])
            )


def _check_directory(config: Config, preset: str, folder: str) -> None:
    """Tensors of the shape that its config.json says, and a tokenizer where its text is scored."""
    shape, tokenizer = shape_of(config, preset), config["models"][preset]["tokenizer"]
    if why := weights_check.directory_problem(folder, shape, config["dtype"]):
        raise ConfigError(f"config key 'pretrained': {why}")
    scored = [name for name in config["benchmarks"] if BENCHMARKS[name].scored]
    if scored and tokenizer is None:
        raise ConfigError(
            f"config key 'benchmarks' has {scored[0]}, but {folder} holds neither "
            f"tokenizer.json nor vocab.json and merges.txt; leave {scored[0]} out, or add these"
        )
    if scored and tokenizer and is_file(tokenizer) and hf_files.cut_short(tokenizer):
        raise ConfigError(
            f"config key 'pretrained': {tokenizer} is not a whole tokenizer: no JSON object"
        )


def check_sharing(config: Config) -> None:
    """Layer maps of versions that share, that fit every preset; weights that can be fitted."""
    sharing = [version for version, line in VERSIONS.items() if line["cross_layer_sharing"]]
    presets = dict.fromkeys([*config["pretrained"], *config["perplexity"]["presets"]])
    for version, layer_map in config["layer_maps"].items():
        if version not in sharing:
            raise ConfigError(
                f"config key 'layer_maps.{version}' is unknown: versions that share K/V: "
                f"{', '.join(sharing)}"
            )
        for preset in presets if version in config["versions"] else ():
            try:
                owners_in(layer_map, shape_of(config, preset))
            except ValueError as error:
                raise ConfigError(
                    f"config key 'layer_maps.{version}' does not fit {preset}: {error}"
                ) from None
    for version in config["versions"]:
        variant = VERSIONS[version].get("weights_variant")
        for preset in presets if variant in ("calibrated", "copied") else ():
            odd = weights_check.not_calibrated(shape_of(config, preset))
            if odd and weights_source(config, preset) != "random":
                raise ConfigError(
                    f"config key 'versions' names {version}, whose weights are fitted in closed "
                    f"form, which {preset} does not allow: it has {odd}; leave {version} out"
                )
        trained = variant in ("shared", "uptrained")
        for preset in presets if trained else ():
            if weights_source(config, preset) not in ("trained", "random"):
                raise ConfigError(
                    f"config key 'versions' names {version}, which is trained in the workflow; "
                    f"allowed with presets trained there ({_having('trained')}), not with {preset}"
                )


def _having(source: str) -> str:
    """The presets whose weights come from `source`."""
    return ", ".join(name for name, shape in PRESETS.items() if shape["weights"] == source)
