"""The configuration: defaults, overrides, and refusals in one clear line.

Light on purpose: the Snakefile imports it. jsonschema and yaml come with Snakemake.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kvbench.machine import has_cuda_driver
from kvbench.ncu import runner
from kvbench.presets import HUB_PRESETS, PRESETS
from kvbench.versions import VERSIONS

WEIGHT_SOURCES = ("auto", "random", "hub")
WEIGHT_KINDS = ("random", "hub", "trained", "gguf")  # what records say; a file of yours is a path
CUSTOM = "custom"


class ConfigError(ValueError):
    """A configuration that cannot be run: which key, what is allowed, what to do."""


SCHEMA = Path(__file__).resolve().parents[2] / "config" / "schema.yaml"


def load_schema(path: str | Path = SCHEMA) -> dict[str, Any]:
    """The schema, with the names that the registries hold put in."""
    import yaml

    schema = yaml.safe_load(Path(path).read_text())
    keys = schema["properties"]
    keys["versions"]["items"]["enum"] = list(VERSIONS)
    presets = {"enum": list(PRESETS)}
    keys["pretrained"]["oneOf"][0] |= presets
    keys["pretrained"]["oneOf"][1]["items"] |= presets
    keys["perplexity"]["properties"]["presets"]["items"] |= presets
    return schema


def resolve(given: dict[str, Any], schema: dict[str, Any], name: str = "default") -> dict[str, Any]:
    """The whole configuration: `given` with numbers read, defaults filled in and lists made lists.

    `name` is the study's name where the configuration gives none. Afterwards `pretrained` and
    `batch_size` are lists and `log_file` is a path. Raises ConfigError for the first key that is
    unknown, of a wrong type, out of range, or impossible in combination.
    """
    import jsonschema

    config = _coerce({"study": name, **given}, schema)
    errors = sorted(
        jsonschema.Draft202012Validator(schema).iter_errors(config),
        key=lambda e: list(map(str, e.path)),
    )
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ConfigError(_line(errors[0], schema) + more)
    config = _defaults(config, schema)
    config["pretrained"] = _listed(config["pretrained"] or CUSTOM)
    config["batch_size"] = _listed(config["batch_size"])
    config["log_file"] = config["log_file"] or f"results/{config['study']}/results.jsonl"
    _check_together(config)
    return config


def shape_of(config: dict[str, Any], preset: str) -> dict[str, Any]:
    """The shape of a preset of this configuration; `custom` is its model_config."""
    if preset == CUSTOM:
        return {"arch": "gpt2", **config["model_config"], "weights": "random"}
    return dict(PRESETS[preset])


def weights_source(config: dict[str, Any], preset: str) -> str:
    """`random`, `trained`, `gguf`, `hub`, or the path of a safetensors file."""
    wanted = config["weights"]
    if isinstance(wanted, dict):
        wanted = wanted.get(preset, "auto")
    return shape_of(config, preset)["weights"] if wanted == "auto" else wanted


def for_preset(value: Any, preset: str) -> Any:
    """A setting, or the preset's own where it is a mapping: null for those it does not name."""
    return value.get(preset) if isinstance(value, dict) else value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _coerce(value: Any, schema: dict[str, Any]) -> Any:
    """Numbers, booleans and nulls that arrive as strings (`--config T_star=4`), by the schema."""
    options = [schema, *schema.get("oneOf", [])]
    kinds = {option.get("type") for option in options}
    if isinstance(value, dict):
        known = schema.get("properties", {})
        rest: dict[str, Any] = next(
            (o["additionalProperties"] for o in options if o.get("additionalProperties")), {}
        )
        return {key: _coerce(item, known.get(key, rest)) for key, item in value.items()}
    if isinstance(value, list):
        items: dict[str, Any] = next((o["items"] for o in options if "items" in o), {})
        return [_coerce(item, items) for item in value]
    if isinstance(value, str) and "string" not in kinds:
        if "integer" in kinds and re.fullmatch(r"[+-]?\d+", value):
            return int(value)
        if "number" in kinds and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value):
            return float(value)
        if "boolean" in kinds and value.lower() in ("true", "false"):
            return value.lower() == "true"
    if isinstance(value, str) and "null" in kinds and value.lower() in ("null", "none", ""):
        return None
    return value


def _defaults(value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    filled = {}
    for key, rule in schema["properties"].items():
        item = value.get(key, rule.get("default"))
        filled[key] = _defaults(item, rule) if "properties" in rule else item
    return filled


def _line(error: Any, schema: dict[str, Any]) -> str:
    """One line for one jsonschema error: the key, the value, what is allowed."""
    path = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        wrong = sorted(set(error.instance) - set(known))[0]
        close = difflib.get_close_matches(wrong, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        full = f"{path}.{wrong}" if path else wrong
        return f"config key {full!r} is unknown: {hint}known keys: {', '.join(known)}"
    if error.validator == "oneOf":  # say what the option of the same kind wants
        deeper = [e for e in error.context if e.validator not in ("type",)]
        if deeper:
            return _line(deeper[0], schema)
    return f"config key {path!r} is {error.instance!r}; allowed: {_allowed(error.schema)}"


def _allowed(rule: dict[str, Any]) -> str:
    """What a schema allows, in words."""
    if "oneOf" in rule:
        return " or ".join(_allowed(option) for option in rule["oneOf"])
    if "enum" in rule:
        return ", ".join(map(str, rule["enum"]))
    if rule.get("type") == "array":
        few = "at least one of " if rule.get("minItems") else ""
        once = ", each once" if rule.get("uniqueItems") else ""
        return f"a list of {few}{_allowed(rule['items'])}{once}"
    if rule.get("type") in ("integer", "number"):
        kind = "whole numbers" if rule["type"] == "integer" else "numbers"
        least = f" from {rule['minimum']}" if "minimum" in rule else ""
        least = f" above {rule['exclusiveMinimum']}" if "exclusiveMinimum" in rule else least
        below = f" below {rule['exclusiveMaximum']}" if "exclusiveMaximum" in rule else ""
        return kind + least + below
    if "pattern" in rule:
        return "letters, digits, '.', '_' and '-', beginning with a letter or digit"
    names = {"null": "null", "boolean": "true or false", "string": "text", "object": "a mapping"}
    return names.get(rule.get("type", ""), "another value")


def _check_together(config: dict[str, Any]) -> None:
    """What no single key can show."""
    if config["dtype"] == "float16" and (
        config["device"] == "cpu" or (config["device"] == "auto" and not has_cuda_driver())
    ):
        raise ConfigError(
            "config key 'dtype' is float16, which needs a GPU: a CPU multiplies float16 matrices "
            "many times slower than float32; allowed here: float32, bfloat16"
        )
    custom = config["model_config"]
    if custom["n_embd"] % custom["n_head"]:
        raise ConfigError(
            f"config key 'model_config.n_embd' is {custom['n_embd']}; "
            f"allowed: multiples of n_head, {custom['n_head']}"
        )
    if config["top_k"] is not None and config["temperature"] == 0:
        raise ConfigError("config key 'top_k' needs a temperature above 0; temperature 0 is greedy")
    if isinstance(config["weights"], dict):
        known = [*PRESETS, CUSTOM]
        for preset in config["weights"].keys() - known:
            raise ConfigError(
                f"config key 'weights.{preset}' is unknown: presets: {', '.join(known)}"
            )
    measured = [*config["pretrained"], *config["perplexity"]["presets"]]
    for preset in measured:
        _check_weights(config, preset)
    if "roofline" in config["benchmarks"]:
        for preset in config["pretrained"]:
            block_size = shape_of(config, preset)["block_size"]
            if config["roofline"]["P"] >= block_size:
                raise ConfigError(
                    f"config key 'roofline.P' is {config['roofline']['P']}; allowed: whole numbers "
                    f"below {block_size}, the block_size of {preset}"
                )
        _check_roofline_source(config)
    for preset in config["perplexity"]["presets"]:
        context = for_preset(config["perplexity"]["context"], preset)
        block_size = shape_of(config, preset)["block_size"]
        if context is not None and context > block_size:
            raise ConfigError(
                f"config key 'perplexity.context' is {context}; allowed: whole numbers from 2 to "
                f"{block_size}, the block_size of {preset}, or null"
            )


def roofline_source(config: dict[str, Any]) -> str:
    """`ncu`, `csv` or `model`: auto is settled by what this machine has when the run is planned."""
    source = config["roofline"]["source"]
    if source != "auto":
        return source
    return "ncu" if has_cuda_driver() and config["device"] != "cpu" and runner.find() else "model"


def _check_roofline_source(config: dict[str, Any]) -> None:
    """A folder where exports are read, and none where they are not."""
    source, folder = config["roofline"]["source"], config["roofline"]["csv_dir"]
    if source != "csv" and folder is not None:
        raise ConfigError(
            f"config key 'roofline.csv_dir' is {folder!r}; allowed with roofline.source csv only"
        )
    if source == "csv" and (folder is None or not (Path(folder) / "roofs.json").is_file()):
        raise ConfigError(
            f"config key 'roofline.csv_dir' is {folder!r}; allowed with roofline.source csv: a "
            "folder that holds exports and the roofs.json of the machine that made them"
        )
    if source == "ncu" and not runner.find():
        raise ConfigError(
            "config key 'roofline.source' is ncu, but there is no ncu on PATH; "
            "allowed here: auto, csv, model"
        )


def _check_weights(config: dict[str, Any], preset: str) -> None:
    """A source that the preset has, or a file that is there."""
    source = weights_source(config, preset)
    if source == "hub" and preset not in HUB_PRESETS:
        raise ConfigError(
            f"config key 'weights' is hub for preset {preset!r}; "
            f"allowed with presets {', '.join(HUB_PRESETS)}"
        )
    if source in ("trained", "gguf") and source != shape_of(config, preset)["weights"]:
        having = ", ".join(name for name, shape in PRESETS.items() if shape["weights"] == source)
        raise ConfigError(
            f"config key 'weights' is {source} for preset {preset!r}; allowed with presets {having}"
        )
    if source not in WEIGHT_KINDS and not Path(source).is_file():
        raise ConfigError(
            f"config key 'weights' is {source!r} for preset {preset!r}; allowed: "
            f"{', '.join(WEIGHT_SOURCES)} or the path of an existing safetensors file"
        )


def quality_presets(config: dict[str, Any]) -> list[str]:
    """The presets whose perplexity means something: those with real weights."""
    wanted: Iterable[str] = dict.fromkeys([*config["pretrained"], *config["perplexity"]["presets"]])
    return [preset for preset in wanted if weights_source(config, preset) != "random"]
