"""The configuration: defaults, overrides, and refusals in one clear line.

Light on purpose: the Snakefile imports it. jsonschema and yaml come with Snakemake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

from kvbench.benchmarks import BENCHMARKS
from kvbench.files import Json
from kvbench.peers import PEERS
from kvbench.plan import described
from kvbench.plan.config_checks import check_together
from kvbench.plan.config_file import check_plain
from kvbench.plan.config_file import check_written as check_written
from kvbench.plan.config_types import Config
from kvbench.plan.models import CONTEXT, WINDOWS, ModelPathError, place_models
from kvbench.plan.refusal import ConfigError, line
from kvbench.plan.study import CUSTOM
from kvbench.presets import PRESETS
from kvbench.versions import BY_NAME, VERSIONS

SCHEMA = Path(__file__).resolve().parents[3] / "config" / "schema.yaml"


def load_schema(path: str | Path = SCHEMA) -> Json:
    """The schema, with the names that the registries hold put in."""
    import msgspec

    schema = msgspec.yaml.decode(Path(path).read_bytes())
    schema = _inlined(schema, schema["$defs"])
    keys = schema["properties"]
    keys["benchmarks"]["items"]["enum"] = [name for name, b in BENCHMARKS.items() if b.in_all]
    keys["peers"]["items"]["enum"] = list(PEERS)
    return _knowing(_with_versions(schema), PRESETS)


def _with_versions(schema: Json) -> Json:
    """The schema with the names of versions put in, those that a study describes as well."""
    schema = deepcopy(schema)
    keys = schema["properties"]
    for listed in (keys["versions"], keys["decode"]["properties"]["versions"]["oneOf"][0]):
        listed["items"]["enum"] = [*VERSIONS, *BY_NAME]
    return schema


def _knowing(schema: Json, presets: Iterable[str]) -> Json:
    """The schema with the names of presets put in."""
    schema, names = deepcopy(schema), list(presets)
    keys = schema["properties"]
    where = "a directory, org/name of the hub, config:PATH/config.json"
    allowed = {"enum": names, "title": f"{', '.join(names)}, {where}"}
    keys["pretrained"]["oneOf"][0] |= allowed
    keys["pretrained"]["oneOf"][1]["items"] |= allowed
    scored = keys["perplexity"]["properties"]
    scored["presets"]["items"]["enum"] = names
    for key in ("context", "max_windows"):
        scored[key]["oneOf"][1]["propertyNames"] = {"enum": [*names, CUSTOM]}
    return schema


def _inlined(rule: Any, defs: Json) -> Any:
    """A part of the schema with what it refers to in its place."""
    if isinstance(rule, list):
        return [_inlined(part, defs) for part in rule]
    if not isinstance(rule, dict):
        return rule
    if "$ref" in rule:
        return dict(defs[rule["$ref"].rsplit("/", 1)[-1]])
    return {key: _inlined(part, defs) for key, part in rule.items()}


def resolve(given: Json, schema: Json, name: str = "default") -> Config:
    """The whole configuration: `given` with numbers read, defaults filled in and lists made lists.

    `name` is the study's name where the configuration gives none. Afterwards `versions` are
    numbers, `pretrained` and `batch_size` are lists and `log_file` is a path. Raises ConfigError
    for the first key that is unknown, of a wrong type, out of range, or impossible in combination.
    """
    import jsonschema

    check_plain(given)
    try:
        given, models = place_models(given)
    except ModelPathError as error:
        raise ConfigError(f"config key '{error.key}': {error}") from None
    schema = _knowing(schema, [*PRESETS, *models])
    given = described.place(given)
    schema = _with_versions(schema)
    config = _versions_by_number(_coerce({"study": name, **given}, schema))
    errors = sorted(
        jsonschema.Draft202012Validator(schema).iter_errors(config),
        key=lambda e: list(map(str, e.path)),
    )
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ConfigError(line(errors[0], schema) + more)
    config = _defaults(config, schema) | {"models": models}
    config["pretrained"] = _listed(config["pretrained"] or CUSTOM)
    config["batch_size"] = _listed(config["batch_size"])
    if config["decode"]["batch_size"] is not None:
        config["decode"]["batch_size"] = _listed(config["decode"]["batch_size"])
    for key in ("batch_size", "T"):
        config["controls"][key] = _listed(config["controls"][key])
    for key, most in (("context", CONTEXT), ("max_windows", WINDOWS)):
        if isinstance(value := config["perplexity"][key], dict):
            least = {name: min(most, m["shape"]["block_size"]) for name, m in models.items()}
            config["perplexity"][key] = least | value
    config["log_file"] = config["log_file"] or f"results/{config['study']}/results.jsonl"
    whole = cast(Config, config)
    check_together(whole)
    return whole


def _versions_by_number(config: Json) -> Json:
    """The configuration with versions that it calls by name (`int8`) by their number (`v2`)."""
    maps, decode = config.get("layer_maps"), config.get("decode")
    config = _numbered(config)
    if isinstance(decode, dict):
        config = config | {"decode": _numbered(decode)}
    if isinstance(maps, dict):
        for name in maps:
            if BY_NAME.get(name) in maps:
                raise ConfigError(
                    f"config key 'layer_maps' has {name!r} and {BY_NAME[name]!r}, which are one "
                    "version: keep one"
                )
        config = config | {"layer_maps": {BY_NAME.get(v, v): value for v, value in maps.items()}}
    return config


def _numbered(section: Json) -> Json:
    """A section with the numbers of the versions that its key `versions` lists."""
    named = section.get("versions")
    if not isinstance(named, list):
        return section
    return section | {"versions": [BY_NAME.get(v, v) if isinstance(v, str) else v for v in named]}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _coerce(value: Any, schema: Json) -> Any:
    """Numbers, booleans and nulls that arrive as strings (`--config T_star=4`), by the schema."""
    options = [schema, *schema.get("oneOf", [])]
    kinds = {option.get("type") for option in options}
    if isinstance(value, dict):
        known = schema.get("properties", {})
        rest: Json = next(
            (o["additionalProperties"] for o in options if o.get("additionalProperties")), {}
        )
        return {key: _coerce(item, known.get(key, rest)) for key, item in value.items()}
    if isinstance(value, list):
        items: Json = next((o["items"] for o in options if "items" in o), {})
        return [_coerce(item, items) for item in value]
    if isinstance(value, float) and value.is_integer() and "integer" in kinds:
        return int(value)
    if "enum" in schema and not isinstance(value, bool):
        return next((known for known in schema["enum"] if value in (known, str(known))), value)
    if isinstance(value, str) and "string" not in kinds:
        if "integer" in kinds and re.fullmatch(r"[+-]?\d{1,40}(\.0*)?", value):
            return int(value.partition(".")[0])
        if "number" in kinds and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value):
            return float(value)
        if "boolean" in kinds and value.lower() in ("true", "false"):
            return value.lower() == "true"
    if isinstance(value, str) and "null" in kinds and value.lower() in ("null", "none", ""):
        return None
    return value


def _defaults(value: Json, schema: Json) -> Json:
    filled = {}
    for key, rule in schema["properties"].items():
        item = value.get(key, rule.get("default"))
        filled[key] = _defaults(item, rule) if "properties" in rule else item
    return filled
