"""The configuration: defaults, overrides, and refusals in one clear line.

Light on purpose: the Snakefile imports it. jsonschema and yaml come with Snakemake.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from kvbench.benchmarks import BENCHMARKS
from kvbench.peers import PEERS
from kvbench.plan.config_checks import ConfigError, check_together
from kvbench.plan.study import CUSTOM
from kvbench.presets import PRESETS
from kvbench.versions import VERSIONS

SCHEMA = Path(__file__).resolve().parents[3] / "config" / "schema.yaml"


def load_schema(path: str | Path = SCHEMA) -> dict[str, Any]:
    """The schema, with the names that the registries hold put in."""
    import yaml

    schema = yaml.safe_load(Path(path).read_text())
    keys = schema["properties"]
    keys["benchmarks"]["items"]["enum"] = [name for name, b in BENCHMARKS.items() if b.in_all]
    keys["versions"]["items"]["enum"] = list(VERSIONS)
    keys["peers"]["items"]["enum"] = list(PEERS)
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
    for key in ("batch_size", "T"):
        config["controls"][key] = _listed(config["controls"][key])
    config["log_file"] = config["log_file"] or f"results/{config['study']}/results.jsonl"
    check_together(config)
    return config


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
