"""The schema of records: documented, shipped, and kept by every line that was published."""

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from kvbench.records import schema
from kvbench.records.store import SCHEMA_VERSION
from kvbench.records.types import Record

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = sorted(ROOT.glob("published/**/results.jsonl"))
LOST = {"benchmark_name": "vram_vs_T", "version": "v1", "pretrained": "nano", "batch_size": 1}
LOST |= {"weights": "random", "dtype": "float32", "seed": 42, "error": "out of memory"}
LOST |= {"model_config": dict.fromkeys(("n_layer", "n_head", "n_embd"), 1)}
LOST["model_config"] |= {"block_size": 8, "vocab_size": 8}
LOST |= {"schema_version": SCHEMA_VERSION, "complete": True}
LOST["provenance"] = dict.fromkeys(("weights", "data", "environment", "device"))
LOST["provenance"] |= dict.fromkeys(("key", "code", "config"), "0123456789abcdef")


def test_the_documented_keys_are_the_schema_s():
    assert (ROOT / "docs/records.md").read_text() == schema.markdown()


def test_the_types_are_of_the_version_that_is_written():
    (rule,) = (f for f in msgspec.structs.fields(Record) if f.name == "schema_version")
    assert msgspec.convert(SCHEMA_VERSION, rule.type) == SCHEMA_VERSION


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_published_lines_are_records(path):
    lines = path.read_text().splitlines()
    versions = [json.loads(line)["schema_version"] for line in lines]
    current = [line for line, v in zip(lines, versions, strict=True) if v == SCHEMA_VERSION]
    assert schema.check_lines(current, str(path)) == len(current)
    assert max(versions) <= SCHEMA_VERSION
    validator = jsonschema.Draft202012Validator(schema.json_schema())
    for line in current[:: max(1, len(current) // 5)]:
        validator.validate(json.loads(line))


WRONG = pytest.mark.parametrize(
    "wrong,where",
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "1"}, "batch_size"),
        ({"model_config": {"n_layer": 1}}, "model_config"),
        ({"dtype": "float64"}, "dtype"),
        ({"complete": False}, "record: the record is not complete"),
        ({"schema_version": SCHEMA_VERSION - 1}, "schema_version"),
        ({"provenance": {"key": "x"}}, "provenance"),
        ({"benchmark_name": "speed"}, "benchmark_name"),
    ],
)


@WRONG
def test_a_line_that_does_not_fit_is_named(wrong, where, tmp_path, capsys):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(LOST) + "\n" + json.dumps(LOST | wrong) + "\n")
    assert schema.main([str(path)]) == 1
    assert f"{path}, line 2, {where}" in capsys.readouterr().err


@WRONG
def test_the_json_schema_refuses_what_the_types_refuse(wrong, where, capsys):
    assert schema.main(["--json"]) == 0
    validator = jsonschema.Draft202012Validator(json.loads(capsys.readouterr().out))
    assert validator.is_valid(LOST)
    assert not validator.is_valid(LOST | wrong)


def test_a_measurement_needs_its_numbers_and_its_machine(tmp_path):
    measured = {key: value for key, value in LOST.items() if key != "error"}
    with pytest.raises(schema.NotARecord, match="missing required field `threads`"):
        schema.check_lines([json.dumps(measured)], "one")
    assert schema.check_lines([json.dumps(LOST)], "one") == 1
