"""The types of a resolved configuration and of a shape are the schema's and the models'."""

from dataclasses import fields
from types import NoneType
from typing import NotRequired, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from kvbench.models import gpt2, llama
from kvbench.models.build import NOT_OF_CONFIG
from kvbench.plan.config import load_schema, resolve
from kvbench.plan.config_types import Config
from kvbench.presets import PRESETS
from kvbench.shape import Shape

PLAIN = {"string": str, "integer": int, "number": float, "boolean": bool, "null": NoneType}
ALWAYS_LISTS = ("pretrained", "batch_size", "decode.batch_size", "controls.batch_size")
ALWAYS_LISTS += ("controls.T",)
WORKED_OUT = {"models", "modes"}


def alternatives(rule):
    """Types that a rule of the schema allows, as (kind, of what), where it holds something."""
    if "oneOf" in rule:
        return frozenset().union(*map(alternatives, rule["oneOf"]))
    if "enum" in rule:
        return frozenset((type(value), None) for value in rule["enum"])
    if rule["type"] == "array":
        return frozenset({(list, alternatives(rule["items"]))})
    if rule["type"] == "object":
        return frozenset({(dict, alternatives(rule["additionalProperties"]))})
    return frozenset({(PLAIN[rule["type"]], None)})


def declared(hint):
    """The same of a type."""
    if get_origin(hint) in (list, dict):
        return frozenset({(get_origin(hint), declared(get_args(hint)[-1]))})
    if get_args(hint):
        return frozenset().union(*map(declared, get_args(hint)))
    return frozenset({(hint, None)})


def differences(rules, kind, where=""):
    """Keys whose types are not the schema's."""
    hints = get_type_hints(kind)
    found = {f"{where}{key}" for key in hints.keys() ^ rules.keys()}
    for key in hints.keys() & rules.keys():
        path, rule = f"{where}{key}", rules[key]
        if "properties" in rule:
            assert is_typeddict(hints[key]), path
            found |= differences(rule["properties"], hints[key], f"{path}.")
            continue
        expected = alternatives(rule)
        if path in ALWAYS_LISTS:
            nullable = {(NoneType, None)} & (expected if path == "decode.batch_size" else set())
            expected = frozenset(one for one in expected if one[0] is list) | nullable
        if path == "log_file":
            expected = frozenset({(str, None)})  # null is worked out
        if expected != declared(hints[key]):
            found.add(path)
    return found


def test_every_key_of_the_schema_has_its_type_and_no_other_has_one():
    assert differences(load_schema()["properties"], Config) == WORKED_OUT


def held(value, hint):
    """Whether a value is of a type."""
    if is_typeddict(hint):
        hints = get_type_hints(hint)
        return value.keys() <= hints.keys() and all(held(value[k], hints[k]) for k in value)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(held(one, get_args(hint)[0]) for one in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(held(v, get_args(hint)[1]) for v in value.values())
    if get_args(hint):
        return any(held(value, one) for one in get_args(hint))
    return isinstance(value, (int, float) if hint is float else hint)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"pretrained": None, "batch_size": [1, 8], "versions": ["none", {"keys": "int8"}]},
        {"decode": {"batch_size": 4}, "controls": {"T": 3}, "weights": {"gpt2": "random"}},
    ],
)
def test_a_resolved_configuration_is_of_its_type(given):
    config = resolve(given, load_schema())
    for key, hint in get_type_hints(Config).items():
        assert key == "modes" or held(config[key], hint), key


def test_a_shape_s_keys_are_the_architectures():
    taken = {field.name for kind in (gpt2, llama) for field in fields(kind.Config)} - {"owner"}
    assert set(get_type_hints(Shape)) == taken | set(NOT_OF_CONFIG)
    hints = get_type_hints(Shape, include_extras=True)
    required = {key for key, hint in hints.items() if get_origin(hint) is not NotRequired}
    assert required > {"arch", "n_layer"}
    assert all(required <= shape.keys() <= hints.keys() for shape in PRESETS.values())
