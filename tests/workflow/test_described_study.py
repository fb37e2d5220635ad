"""Caches that a study describes: their cells and records, and what an edit measures again."""

import json

import pytest
from project import copy, snakemake

from kvbench.costs.description import Description
from kvbench.plan.config import ConfigError, load_schema, resolve

STUDY = """
pretrained: null
model_config: {n_layer: 2, n_head: 2, n_embd: 64, block_size: 64, vocab_size: 128}
benchmarks: [vram]
kernel: torch
versions:
  - v1
  - {name: k8v4, keys: int8, values: int4, group: 32, dense_layers: [0]}
  - {keys: fp8_e4m3, values: q8_0, rotate: true}
T_values: [4]
num_measure_runs: 1
num_warmup_runs: 0
"""
CELL = "results/own/vram/custom/k8v4/B1/T4.json"
UNNAMED = "results/own/vram/custom/fp8_e4m3-q8_0-rotated/B1/T4.json"


def test_a_description_has_cells_of_its_name_and_another_measures_them_again(tmp_path):
    project = copy(tmp_path)
    study = project / "config/own.yaml"
    study.write_text(STUDY)
    ask = (CELL, UNNAMED, CELL.replace("k8v4", "v1"), "--configfile", "config/own.yaml")
    snakemake(project, *ask)
    record = json.loads((project / CELL).read_text())
    assert (record["version"], record["cache"]) == ("k8v4", "k8v4")
    described = Description.of(record["cache_format"])
    assert (described.keys.word(), described.values.word()) == ("int8-g32", "int4-g32")
    # Of 32 channels in 2 heads: layer 0 in float32, layer 1 in codes with a scale a group.
    assert record["cache_bytes_per_token"] == 2 * (2 * 128 + (32 + 4) + (16 + 4))
    assert json.loads((project / UNNAMED).read_text())["version_description"] == (
        "KV-cache, K fp8_e4m3, V q8_0, rotated"
    )
    assert "Nothing to be done" in snakemake(project, "--dry-run", *ask)
    study.write_text(STUDY.replace("values: int4", "values: int8"))
    planned = snakemake(project, "--dry-run", *ask)
    assert f"output: {CELL}" in planned
    assert UNNAMED not in planned and f"output: {CELL.replace('k8v4', 'v1')}" not in planned


REFUSED = [
    ({"keys": "int3"}, "versions.0.keys' is 'int3'; allowed: dense, fp32, bf16"),
    ({"keys": "int8", "color": 1}, "versions.0.color' is unknown; known: name, keys"),
    ({"keys": {"type": "int8", "size": 2}}, "versions.0.keys.size' is unknown"),
    ({"keys": "int8", "group": 48}, "versions.0.group' is 48; allowed: 0, 32, 64"),
    ({"keys": "dense", "group": 32}, "group' is 32, which neither keys nor values take"),
    ({"keys": {"type": "q8_0", "group": 32}}, "keys.group' is not for q8_0"),
    ({"keys": {"type": "int8", "scale": "tensor"}}, "keys.scale' tensor is for fp8_e4m3"),
    ({"keys": {"type": "fp8", "scale": "channel"}}, "channel is not implemented for fp8_e4m3"),
    ({"keys": "int8", "rotate": 1}, "rotate' is 1; allowed: false, true, folded"),
    ({"rotate": True}, "rotate' needs keys or values in codes"),
    ({"keys": "codebook4"}, "keys' of codebook4 needs rotate: true"),
    ({"keys": "int8", "dense_layers": 0}, "dense_layers' is 0; allowed: a list"),
    ({"keys": "int8", "dense_layers": [0, 0]}, "dense_layers' is [0, 0]"),
    ({"keys": "int8", "dense_layers": [12]}, "whose dense_layers has 12; allowed: -12 to 11"),
    ({"keys": "int8", "dense_layers": [-13]}, "whose dense_layers has -13"),
    ({"keys": "int8", "window": 0}, "window' is 0; allowed: whole numbers from 1"),
    ({"keys": "int8", "sinks": 4}, "sinks' needs a window"),
    ({"keys": {"type": "int8", "scale": "channel"}, "window": 9}, "window' is not implemented"),
    ({"keys": "int8", "values": "int8", "window": 9, "centred": True}, "centred' is not"),
    ({"keys": "int8", "centred": True}, "centred' needs keys and values in codes"),
    ({"values": "int8", "key_bias": "split"}, "key_bias' split needs keys in codes"),
    ({"keys": "int8", "key_bias": "split", "window": 9}, "key_bias' split is not implemented"),
    ({"keys": "int8", "key_bias": True}, "key_bias' is True; allowed: kept, split"),
    ({"keys": "int8", "layer_map": "rows"}, "whose layer_map does not fit gpt2: unknown layer map"),
    ({"keys": "int8", "layer_map": "pairs", "dense_layers": [1]}, "name that one"),
    ({"name": "v2", "keys": "fp8"}, "'v2' is a version already"),
    ({"name": "int8", "keys": "fp8"}, "'int8' is a version already"),
    ({"name": "v1-again", "keys": "fp8"}, "'v1-again', which is taken"),
    ({"name": "a/b", "keys": "fp8"}, "name' is 'a/b'; allowed: at most 80 letters"),
    ({"name": "", "keys": "fp8"}, "name' is ''"),
    ({"name": 3, "keys": "fp8"}, "name' is 3"),
]


@pytest.mark.parametrize("written, words", REFUSED, ids=[words for _, words in REFUSED])
def test_what_cannot_be_stored_is_refused_in_a_line(written, words):
    with pytest.raises(ConfigError) as refused:
        resolve({"versions": [written], "device": "cpu", "benchmarks": []}, load_schema())
    assert words in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "written, shape, words",
    [
        ({"keys": "q8_0"}, {"n_embd": 48}, "cannot hold rows of 24, the head size of custom"),
        ({"keys": "int8", "group": 64}, {}, "keys.group is 64; it needs a multiple of 64"),
        ({"keys": "int4"}, {"n_embd": 6}, "keys.type is int4; it needs an even one"),
        ({"keys": "codebook4", "rotate": True}, {"n_embd": 48}, "a power of 2 from 16 on"),
        ({"keys": "int8", "key_bias": "split"}, {"bias": False}, "keys of custom have no bias"),
    ],
)
def test_a_model_that_a_format_cannot_hold_is_refused(written, shape, words):
    model = {"n_layer": 1, "n_head": 2, "n_embd": 64, "block_size": 64, "vocab_size": 9} | shape
    study = {"pretrained": None, "model_config": model, "versions": [written], "device": "cpu"}
    with pytest.raises(ConfigError, match=words):
        resolve(study | {"benchmarks": []}, load_schema())


def test_a_description_of_a_version_is_that_version_and_two_of_one_name_are_refused():
    def found(*listed):
        study = {"versions": list(listed), "device": "cpu", "benchmarks": []}
        return resolve(study, load_schema())["versions"]

    assert found("v1", {"keys": "int8", "values": "int8"}) == ["v1", "v2"]
    assert found({"keys": "int4", "values": "int4", "rotate": "folded"}) == ["v9"]
    assert found({"keys": "dense"}) == ["v1"]
    assert found({"keys": "int8"}) == ["int8-dense"]
    with pytest.raises(ConfigError, match="which another description has"):
        found({"name": "x", "keys": "int8"}, {"name": "x", "keys": "int4"})
    windows = {"versions": [{"name": "x", "keys": "int8", "layer_map": "pairs"}]}
    gemma = windows | {"pretrained": "gemma-3-1b", "device": "cpu", "benchmarks": []}
    with pytest.raises(ConfigError, match="share between layers of one window"):
        resolve(gemma, load_schema())
