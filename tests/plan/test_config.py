"""A configuration is whole, or refused in one line that says which key and what is allowed."""

from pathlib import Path

import pytest
import yaml

from kvbench.plan.config import ConfigError, load_schema, resolve
from kvbench.plan.study import for_preset, quality_presets, weights_source

SCHEMA = load_schema()
STUDIES = sorted(Path("config").glob("*.yaml"))


def refusal(**given):
    with pytest.raises(ConfigError) as error:
        resolve(given, SCHEMA)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "given,key,allowed",
    [
        ({"T_valuse": [1]}, "'T_valuse'", "did you mean 'T_values'?"),
        ({"versions": ["v99"]}, "'versions.0'", "v0, v1, v2, v3, v4"),
        ({"T_values": [0]}, "'T_values.0'", "whole numbers from 1"),
        ({"T_values": []}, "'T_values'", "at least one"),
        ({"dtype": "int3"}, "'dtype'", "float32, bfloat16, float16"),
        ({"seed": -1}, "'seed'", "whole numbers from 0"),
        ({"seed": True}, "'seed'", "whole numbers from 0"),
        ({"num_measure_runs": 0}, "'num_measure_runs'", "whole numbers from 1"),
        ({"pretrained": "gpt3"}, "'pretrained'", "gpt2, gpt2-medium, gpt2-large, gpt2-xl, nano"),
        ({"pretrained": ["gpt2", "x"]}, "'pretrained", "gpt2-medium"),
        ({"prompt_length": 1.5}, "'prompt_length'", "whole numbers from 1"),
        ({"batch_size": ["x"]}, "'batch_size", "whole numbers from 1"),
        ({"study": "a/b"}, "'study'", "letters, digits"),
        ({"perplexity": {"contxt": 3}}, "'perplexity.contxt'", "did you mean 'context'?"),
        ({"perplexity": {"context": 500}}, "'perplexity.context'", "256, the block_size of nano"),
        ({"perplexity": {"context": {"nano": 1}}}, "'perplexity.context.nano'", "from 2"),
        (
            {"pretrained": "nano", "perplexity": {"presets": ["smollm2"], "context": 512}},
            "'perplexity.context'",
            "256, the block_size of nano",  # trained, so it is scored though it is not listed
        ),
        ({"roofline": {"P": 1024}}, "'roofline.P'", "below 1024, the block_size of gpt2"),
        ({"model_config": {"n_embd": 100}}, "'model_config.n_embd'", "multiples of n_head, 12"),
        ({"weights": "nofile"}, "'weights'", "existing safetensors file"),
        ({"weights": {"gpt9": "hub"}}, "'weights.gpt9'", "presets: gpt2"),
        ({"weights": {"nano": "hub"}}, "'weights'", "gpt2-xl"),
        ({"weights": {"nano": "gguf"}}, "'weights'", "smollm2"),
        ({"top_k": 5}, "'top_k'", "temperature above 0"),
        ({"dtype": "float16", "device": "cpu"}, "'dtype'", "needs a GPU"),
        ({"execution": "graph", "device": "cpu"}, "'execution'", "auto, eager, compile"),
        ({"kernel": "triton", "device": "cpu"}, "'kernel'", "auto, native, torch"),
        ({"kernel": "native", "device": "cuda"}, "'kernel'", "auto, triton, torch"),
        ({"kernel": "native", "device": "cpu", "execution": "compile"}, "'kernel'", "auto, torch"),
    ],
)
def test_what_cannot_run_is_refused(given, key, allowed):
    line = refusal(**given)
    assert key in line and allowed in line


def test_numbers_from_the_command_line_arrive_as_strings():
    given = {"T_values": ["4", "8"], "T_star": "4", "temperature": "0.7", "top_k": "null"}
    config = resolve(given, SCHEMA)
    assert (config["T_values"], config["T_star"]) == ([4, 8], 4)
    assert (config["temperature"], config["top_k"]) == (0.7, None)
    assert "'seed' is 'x'" in refusal(seed="x")


def test_a_setting_may_differ_by_preset():
    config = resolve({"perplexity": {"max_windows": {"nano": "3"}}}, SCHEMA)
    windows = config["perplexity"]["max_windows"]
    assert (for_preset(windows, "nano"), for_preset(windows, "smollm2")) == (3, None)
    assert for_preset(7, "nano") == 7


def test_single_values_become_lists():
    config = resolve({"pretrained": "gpt2", "batch_size": "4"}, SCHEMA)
    assert (config["pretrained"], config["batch_size"]) == (["gpt2"], [4])


def test_a_study_without_a_name_takes_its_file_s():
    config = resolve({}, SCHEMA, name="memory_study")
    assert config["log_file"] == "results/memory_study/results.jsonl"


def test_random_weights_are_never_scored():
    config = resolve({"pretrained": ["gpt2", "nano"]}, SCHEMA)
    assert weights_source(config, "gpt2") == "random"
    assert quality_presets(config) == ["nano", "smollm2"]


def test_a_model_config_is_the_custom_preset():
    config = resolve({"pretrained": "none", "model_config": {"n_layer": "2"}}, SCHEMA)
    assert config["pretrained"] == ["custom"]
    assert config["model_config"]["n_layer"] == 2 and config["model_config"]["n_head"] == 12


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_in_config_is_valid(path):
    if path.name != "schema.yaml":
        resolve(yaml.safe_load(path.read_text()), SCHEMA, name=path.stem)


def test_the_default_study_states_the_schema_s_defaults():
    written = yaml.safe_load(Path("config/config.yaml").read_text())
    assert resolve(written, SCHEMA) == resolve({}, SCHEMA)
