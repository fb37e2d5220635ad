"""What a resolved configuration says of a preset, and of the machine it will run on.

Light, as `kvbench.plan.config`: the Snakefile imports it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kvbench.job.devices import has_cuda_driver, on_cuda
from kvbench.ncu import runner
from kvbench.plan.config_types import Config
from kvbench.presets import PRESETS, tokenizer_of
from kvbench.shape import Shape

WEIGHT_KINDS = ("random", "hub", "trained", "gguf")  # what records say; a file of yours is a path
CUSTOM = "custom"


def shape_of(config: Config, preset: str) -> Shape:
    """The shape of a preset of this configuration; `custom` is its model_config.

    Its activation is there only where it is not GPT-2's own. A model of `models` has its own.
    """
    if preset in config["models"]:
        return config["models"][preset]["shape"].copy()
    if preset == CUSTOM:
        shape: Shape = {"arch": "gpt2", **config["model_config"], "weights": "random"}
        if shape["activation"] != "gelu":
            del shape["activation"]
        return shape
    return PRESETS[preset].copy()


def weights_source(config: Config, preset: str) -> str:
    """`random`, `trained`, `gguf`, `hub`, or the path of a safetensors file or of a directory."""
    wanted = config["weights"]
    if isinstance(wanted, dict):
        wanted = wanted.get(preset, "auto")
    return shape_of(config, preset)["weights"] if wanted == "auto" else wanted


def revision_of(config: Config, preset: str) -> str | None:
    """The commit of a model of the hub whose weights are used; None for other weights."""
    model = config["models"].get(preset)
    own = model and weights_source(config, preset) == model["shape"].get("weights")
    return model.get("revision") if model and own else None


def known_presets(config: Config) -> list[str]:
    """Every preset that this configuration can name."""
    return [*PRESETS, CUSTOM, *config["models"]]


def tokenizer_for(config: Config, preset: str) -> str:
    """The name of the tokenizer whose ids a preset's embedding table is indexed by."""
    return preset if preset in config["models"] else tokenizer_of(preset)


def for_preset(value: Any, preset: str) -> Any:
    """A setting, or the preset's own where it is a mapping: null for those it does not name."""
    return value.get(preset) if isinstance(value, dict) else value


def uses_cuda(config: Config) -> bool:
    """Whether the study's jobs will run on CUDA, judged without importing torch."""
    return on_cuda(config["device"])


def roofline_source(config: Config) -> str:
    """`ncu`, `csv` or `model`: auto is settled by what this machine has when the run is planned."""
    source = config["roofline"]["source"]
    if source != "auto":
        return source
    return "ncu" if has_cuda_driver() and config["device"] != "cpu" and runner.find() else "model"


def roofline_study(config: Config) -> Config:
    """The configuration of benchmark `roofline`: its replicates, one where a profiler counts."""
    timed = roofline_source(config) == "model"
    own = config["roofline"]["replicates"] or config["replicates"]
    return config | {"replicates": own if timed else 1}


def quality_presets(config: Config) -> list[str]:
    """The presets whose perplexity means something: those with real weights."""
    wanted: Iterable[str] = dict.fromkeys([*config["pretrained"], *config["perplexity"]["presets"]])
    return [preset for preset in wanted if weights_source(config, preset) != "random"]
