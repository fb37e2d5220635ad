"""The schema of records: documented, shipped, and kept by every line that was published."""

import json
import re
from pathlib import Path

import jsonschema
import msgspec
import pytest

from kvbench.analysis.pool import OF_A_PROCESS
from kvbench.benchmarks import BENCHMARKS, record_name
from kvbench.records import schema
from kvbench.records.benchmark_types import TYPES
from kvbench.records.store import SCHEMA_VERSION
from kvbench.records.timed_types import Process, Run
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


def test_pooling_keeps_of_a_process_what_its_type_names():
    assert set(OF_A_PROCESS) == set(Process.__struct_fields__)


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
    assert schema.main([]) == 2
    assert schema.main(["--json"]) == 0
    validator = jsonschema.Draft202012Validator(json.loads(capsys.readouterr().out))
    assert validator.is_valid(LOST)
    assert not validator.is_valid(LOST | wrong)


def test_a_process_without_the_time_that_its_cell_is_judged_by_is_refused():
    lines = (ROOT / "published/cpu-amd-epyc-avx2/results.jsonl").read_text().splitlines()
    record = next(r for r in map(json.loads, lines) if r["benchmark_name"] == "latency_vs_T")
    schema.check_lines([json.dumps(record)], "one")
    del record["processes"][1]["runs"][0]["time_total_ms"]
    with pytest.raises(schema.SchemaError, match="one, line 1, processes: a run has no 'time_tot"):
        schema.check_lines([json.dumps(record)], "one")


def test_a_measurement_needs_its_numbers_and_its_machine(tmp_path):
    measured = {key: value for key, value in LOST.items() if key != "error"}
    with pytest.raises(schema.SchemaError, match="missing required field `threads`"):
        schema.check_lines([json.dumps(measured)], "one")
    assert schema.check_lines([json.dumps(LOST)], "one") == 1


# The keys of the project that this one grew out of, by its benchmarks' names.
COMMON = """
implementation_name gpu_name gpu_total_vram python_version pytorch_version cuda_version dtype
model_config pretrained benchmark_name version version_description use_cache kv_cache_quant
cross_layer_sharing
"""
THERE = {
    "latency_vs_T": "prompt_length batch_size seed T time_total_ms_median time_total_ms_mean "
    "time_total_ms_std time_per_token_ms_median time_per_token_ms_std n_samples n_outliers_removed",
    "vram_vs_T": "prompt_length batch_size seed T peak_memory_bytes peak_activation_bytes "
    "baseline_memory_bytes",
    "per_phase_timing": "prompt_length batch_size seed T_star time_phase_ms",
    "max_batch_capacity": "prompt_length batch_size seed capacity_T max_batch_size "
    "peak_memory_bytes peak_memory_gb",
    "perplexity": "loss perplexity dataset eval_mode num_tokens_evaluated stride",
}


@pytest.mark.parametrize("there", THERE)
def test_every_key_of_the_other_project_is_a_key_here_or_in_the_table_of_what_moved(there):
    here = re.search(r"`(\w+)`", schema.MOVED[there])[1] if there in schema.MOVED else there
    keys = TYPES[here].__struct_fields__
    for key in (COMMON + THERE[there]).split():
        assert key in keys or key in schema.MOVED, key
        if key not in keys:
            named = re.findall(r"`([\w.]+)`", schema.MOVED[key])
            assert all(_exists(name.split(".")[0]) for name in named), (key, named)


def test_the_parts_of_a_phase_have_the_other_project_s_names():
    text = (ROOT / "published/cpu-amd-epyc-avx2/results.jsonl").read_text()
    lines = map(json.loads, text.splitlines())
    parts = next(line["time_phase_ms"] for line in lines if line["benchmark_name"] == "phase")
    assert {"embedding", "attention", "mlp", "head", "other", "total"} <= set(parts)


def _exists(key):
    names = {*BENCHMARKS, *map(record_name, BENCHMARKS)}
    kinds = [Run, *TYPES.values()]
    return key in names or any(key in kind.__struct_fields__ for kind in kinds)
