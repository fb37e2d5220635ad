"""Which weights a cell reads, and how those fitted to a layer map are made. No torch here."""

from __future__ import annotations

from pathlib import PurePath

from kvbench import versions
from kvbench.costs.layer_map import label, owners
from kvbench.files import Json
from kvbench.plan.config_types import Config
from kvbench.plan.study import WEIGHT_KINDS, shape_of, weights_source

UPTRAINED = 10  # uptraining has this part of training's steps and learning rates


def layer_map(config: Config, version: str) -> str | list[int]:
    """The layer map of a version in this study: its own, or what `layer_maps` names instead."""
    return config["layer_maps"].get(version) or versions.layer_map(version)


def weights_file(config: Config, preset: str, version: str = "v1") -> str:
    """The weights a cell reads: v1's, or what was made of them for the version's layer map.

    A safetensors file, or the directory of a model that lies in one.

    Random weights have nothing to fit, so that every version reads the same ones.
    """
    source = weights_source(config, preset)
    name = {
        "random": f"random-{config['seed']}",
        "trained": f"trained-{config['nano']['steps']}-{config['seed']}",
    }.get(source, source)
    own = f"resources/weights/{preset}/{name}.safetensors" if source in WEIGHT_KINDS else source
    variant = versions.weights_variant(version)
    if variant is None or source == "random":
        return own
    fitted = f"{weights_base(config, preset)}.{variant}-{label(layer_map(config, version))}"
    return f"resources/weights/{preset}/{fitted}.safetensors"


def weights_base(config: Config, preset: str) -> str:
    """What names of files begin with that are made of v1's weights."""
    own = weights_file(config, preset)
    return PurePath(own).stem if own.endswith(".safetensors") else preset


def training_job(config: Config, variant: str, shared: str) -> Json:
    """How nano is trained with the layer map `shared` (as `layermaps.label` writes it).

    `shared` from scratch, as nano itself; `uptrained` goes on from nano's own weights, with a tenth
    of the steps and of the learning rates.
    """
    shape, nano = shape_of(config, "nano"), config["nano"].copy()
    if variant == "uptrained":
        nano["steps"] = max(1, nano["steps"] // UPTRAINED)
        nano["warmup_steps"] = max(1, nano["warmup_steps"] // UPTRAINED)
        nano["muon_lr"] /= UPTRAINED
        nano["adamw_lr"] /= UPTRAINED
    layers = owners(shared, shape["n_layer"])
    return {"shape": shape, **nano, "seed": config["seed"], "layer_map": layers}
