"""Refusals of a configuration: one line that says which key, what is allowed, what to do."""

from __future__ import annotations

import difflib
from typing import Any

from kvbench.files import Json

SHOWN = 80  # characters of a wrong value that are repeated


class ConfigError(ValueError):
    """A configuration that cannot be run: which key, what is allowed, what to do."""


def line(error: Any, schema: Json) -> str:
    """One line for one jsonschema error: the key, the value, what is allowed."""
    path = ".".join(str(part) for part in error.absolute_path)
    if "propertyNames" in error.schema_path:
        return unknown(path, error.instance, error.schema["enum"])
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        return unknown(path, sorted(set(error.instance) - set(known))[0], known)
    if error.validator == "oneOf":  # say what the option of the same kind wants
        deeper = [e for e in error.context if e.validator not in ("type",)]
        if deeper:
            return line(deeper[0], schema)
    near: list[str] = []
    if error.validator == "enum" and isinstance(error.instance, str):
        near = difflib.get_close_matches(error.instance, map(str, error.schema["enum"]), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"config key {path!r} is {shown(error.instance)}; {hint}allowed: {allowed(error.schema)}"


def unknown(path: str, wrong: str, known: list[str]) -> str:
    close = difflib.get_close_matches(wrong, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    full = f"{path}.{wrong}" if path else wrong
    return f"config key {shown(full)} is unknown: {hint}known keys: {', '.join(known)}"


def shown(value: Any) -> str:
    """A value in one line, however long it is."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def allowed(rule: Json) -> str:
    """What a schema allows, in words."""
    if "title" in rule:
        return str(rule["title"])
    if "oneOf" in rule:
        return " or ".join(allowed(option) for option in rule["oneOf"])
    if "enum" in rule:
        return ", ".join(map(str, rule["enum"]))
    if rule.get("type") == "array":
        few = "at least one of " if rule.get("minItems") else ""
        once = ", each once" if rule.get("uniqueItems") else ""
        return f"a list of {few}{allowed(rule['items'])}{once}"
    if rule.get("type") in ("integer", "number"):
        kind = "whole numbers" if rule["type"] == "integer" else "numbers"
        least = f" from {rule['minimum']}" if "minimum" in rule else ""
        least = f" above {rule['exclusiveMinimum']}" if "exclusiveMinimum" in rule else least
        most = f" to {rule['maximum']}" if "maximum" in rule else ""
        most = f" below {rule['exclusiveMaximum']}" if "exclusiveMaximum" in rule else most
        return kind + least + most
    names = {"null": "null", "boolean": "true or false", "string": "text", "object": "a mapping"}
    return names.get(rule.get("type", ""), "another value")
