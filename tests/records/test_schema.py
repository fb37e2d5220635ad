"""The schema of records: documented, shipped, and kept by every line that was published."""

import json
from pathlib import Path

import pytest

from kvbench.records import schema
from kvbench.records.store import SCHEMA_VERSION

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


def test_the_schema_is_of_the_version_that_is_written():
    assert schema.load()["properties"]["schema_version"]["const"] == SCHEMA_VERSION


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_published_lines_are_records(path):
    lines = path.read_text().splitlines()
    versions = [json.loads(line)["schema_version"] for line in lines]
    current = [line for line, v in zip(lines, versions, strict=True) if v == SCHEMA_VERSION]
    assert schema.check_lines(current, str(path)) == len(current)
    assert max(versions) <= SCHEMA_VERSION


@pytest.mark.parametrize(
    "wrong,where",
    [
        ({"batch_size": 0}, "batch_size"),
        ({"schema_version": SCHEMA_VERSION - 1}, "schema_version"),
        ({"provenance": {"key": "x"}}, "provenance"),
        ({"benchmark_name": "speed"}, "benchmark_name"),
    ],
)
def test_a_line_that_does_not_fit_is_named(wrong, where, tmp_path, capsys):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(LOST) + "\n" + json.dumps(LOST | wrong) + "\n")
    assert schema.main([str(path)]) == 1
    assert f"{path}, line 2, {where}" in capsys.readouterr().err


def test_a_measurement_needs_its_numbers_and_its_machine(tmp_path):
    measured = {key: value for key, value in LOST.items() if key != "error"}
    with pytest.raises(schema.NotARecord, match="is a required property"):
        schema.check_lines([json.dumps(measured)], "one")
    assert schema.check_lines([json.dumps(LOST)], "one") == 1
