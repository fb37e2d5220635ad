"""A configuration is whole, or refused in one line that says which key and what is allowed."""

import shutil
from pathlib import Path

import pytest
import yaml

from kvbench.cell import EXECUTIONS, KERNELS, PHASES
from kvbench.costs.forward import ITEMSIZE
from kvbench.plan.cells import study_of
from kvbench.plan.config import ConfigError, check_written, load_schema, resolve
from kvbench.plan.study import for_preset, quality_presets, weights_source

SCHEMA = load_schema()
STUDIES = sorted(Path("config").glob("*.yaml"))


ODD = {"n_embd": 9, "n_head": 3, "vocab_size": 60_000}


def refusal(given):
    with pytest.raises(ConfigError) as error:
        resolve(given, SCHEMA)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_schema_s_words_are_those_of_cells():
    keys = SCHEMA["properties"]
    assert set(keys["execution"]["enum"]) == set(EXECUTIONS)
    assert set(keys["kernel"]["enum"]) == set(KERNELS)
    assert set(keys["dtype"]["enum"]) == set(ITEMSIZE)
    assert set(keys["roofline"]["properties"]["phases"]["items"]["enum"]) == set(PHASES)


def test_versions_by_name_are_the_versions_by_number():
    named = {"versions": ["none", "dense", "int8-shared"], "layer_maps": {"int8-shared": "ends"}}
    numbered = {"versions": ["v0", "v1", "v4"], "layer_maps": {"v4": "ends"}}
    assert resolve(named, SCHEMA) == resolve(numbered, SCHEMA)


@pytest.mark.parametrize(
    "given,key,allowed",
    [
        ({"T_valuse": [1]}, "'T_valuse'", "did you mean 'T_values'?"),
        ({"versions": ["v99"]}, "'versions.0'", "v0, v1, v2, v3, v4"),
        ({"versions": ["int9"]}, "'versions.0' is 'int9'; did you mean", "none, dense, int8"),
        ({"versions": ["v2", "int8"]}, "'versions'", "each once"),
        (
            {"layer_maps": {"v3": "ends", "dense-shared": "ends"}},
            "'layer_maps'",
            "'dense-shared' and 'v3', which are one version",
        ),
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
        ({"retrieval": {"lengths": [100]}}, "'retrieval.lengths.0'", "from 256"),
        ({"retrieval": {"items": 1}}, "'retrieval.items'", "from 2"),
        ({"quality": {"max_ppl_ratio": 0.99}}, "'quality.max_ppl_ratio'", "from 1 to 1000"),
        ({"quality": {"max_flips": 5}}, "'quality.max_flips'", "from 0 to 1"),
        ({"quality": {"max_ppl": 1.1}}, "'quality.max_ppl'", "did you mean 'max_kl'?"),
        (
            {"benchmarks": ["retrieval"], "perplexity": {"presets": ["nano"]}},
            "'retrieval.lengths' has 512",
            "256, the block_size of nano",
        ),
        (
            {
                **{"benchmarks": ["retrieval"], "perplexity": {"presets": ["smollm2"]}},
                "versions": ["v0", "v2"],
            },
            "'versions' lacks v1",
            "add it",
        ),
        ({"perplexity": {"context": 500}}, "'perplexity.context'", "256, the block_size of nano"),
        ({"perplexity": {"context": {"nano": 1}}}, "'perplexity.context.nano'", "from 2"),
        (
            {"pretrained": "nano", "perplexity": {"presets": ["smollm2"], "context": 512}},
            "'perplexity.context'",
            "256, the block_size of nano",  # trained, so it is scored though it is not listed
        ),
        (
            {"perplexity": {"context": 16}},
            "'perplexity.divergence.prompt_tokens' is 32",
            "from 1 to 16, the perplexity.context of nano",
        ),
        ({"versions": ["v5"], "pretrained": None, "model_config": ODD}, "names v5", "an even one"),
        ({"versions": ["v8"], "pretrained": None, "model_config": ODD}, "names v8", "an even one"),
        (
            {"versions": ["v11"], "pretrained": None, "model_config": ODD},
            "names v11",
            "an even one",
        ),
        ({"T_values": [8.5]}, "'T_values.0' is 8.5", "whole numbers from 1"),
        ({"margin": float("nan")}, "'margin' is nan", "finite"),
        ({"nano": {"muon_lr": float("inf")}}, "'nano.muon_lr' is inf", "finite"),
        ({"seed": 2**64}, "'seed'", "to 4294967295"),
        ({"threads": 10**9}, "'threads'", "to 1024"),
        ({"replicates": 10**9}, "'replicates'", "to 1000"),
        ({"T_values": [2**63]}, "'T_values.0'", "to 1048576"),
        ({"T_values": [*range(1, 20_001)]}, "'replicates'", "200000 in one study"),
        ({"perplexity": {"context": {"nanno": 8}}}, "'perplexity.context.nanno'", "'nano'"),
        ({"study": "a\n"}, "'study'", "printable"),
        ({"study": "a" * 300}, "'study'", "at most 100 letters"),
        ({"weights": "w" * 5000}, "'weights'", "at most 1000 characters"),
        ({"weights": "{w}.safetensors"}, "'weights'", "without braces"),
        ({1: 2}, "the configuration has the key 1", "text"),
        ({"seed": 2**2000}, "'seed' is a number of 2001 bits", "fewer"),
        ({"log_file": "README.md"}, "'log_file'", "a .jsonl file under results/"),
        ({"log_file": "config/schema.yaml"}, "'log_file'", "a .jsonl file under results/"),
        ({"log_file": "src/kvbench/new.jsonl"}, "'log_file'", "lies within the project"),
        ({"log_file": "results/mine/cells/x.jsonl"}, "'log_file'", "lies within the project"),
        ({"log_file": "published/new.jsonl"}, "'log_file'", "lies within the project"),
        ({"log_file": "/"}, "'log_file'", "a .jsonl file under results/"),
        ({"roofline": {"P": 1024}}, "'roofline.P'", "below 1024, the block_size of gpt2"),
        ({"model_config": {"n_embd": 100}}, "'model_config.n_embd'", "multiples of n_head, 12"),
        ({"weights": "nofile"}, "'weights'", "existing safetensors file"),
        ({"weights": {"gpt9": "hub"}}, "'weights.gpt9'", "presets: gpt2"),
        ({"weights": {"nano": "hub"}}, "'weights'", "gpt2-xl"),
        ({"weights": {"nano": "gguf"}}, "'weights'", "smollm2"),
        ({"top_k": 5}, "'top_k'", "temperature above 0"),
        ({"dtype": "float16", "device": "cpu"}, "'dtype'", "needs a GPU"),
        ({"execution": "graph", "device": "cpu"}, "'execution'", "auto, eager, step, compile"),
        ({"kernel": "triton", "device": "cpu"}, "'kernel'", "auto, native, torch"),
        ({"kernel": "native", "device": "cuda"}, "'kernel'", "auto, triton, torch"),
        ({"execution": "step", "device": "cuda"}, "'execution'", "auto or native, device cpu"),
        ({"execution": "step", "kernel": "torch"}, "'execution'", "auto or native, device cpu"),
        ({"kernel": "native", "device": "cpu", "execution": "compile"}, "'kernel'", "auto, torch"),
    ],
)
def test_what_cannot_run_is_refused(given, key, allowed):
    line = refusal(given)
    assert key in line and allowed in line


def test_numbers_from_the_command_line_arrive_as_strings():
    given = {"T_values": ["4", "8"], "T_star": "4", "temperature": "0.7", "top_k": "null"}
    config = resolve(given, SCHEMA)
    assert (config["T_values"], config["T_star"]) == ([4, 8], 4)
    assert (config["temperature"], config["top_k"]) == (0.7, None)
    assert "'seed' is 'x'" in refusal({"seed": "x"})


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


def test_decode_has_batch_sizes_and_versions_of_its_own_or_the_study_s_that_keep_a_cache():
    given = {"versions": ["v0", "v1", "int8"], "batch_size": [1, 2]}
    study = study_of(resolve(given, SCHEMA), "decode")
    assert (study["versions"], study["batch_size"]) == (["v1", "v2"], [1, 2])
    given["decode"] = {"versions": ["none", "int8"], "batch_size": 8}
    study = study_of(resolve(given, SCHEMA), "decode")
    assert (study["versions"], study["batch_size"]) == (["v0", "v2"], [8])
    assert study_of(resolve(given, SCHEMA), "dispatch")["batch_size"] == [1]
    given["decode"]["replicates"] = 5
    assert study_of(resolve(given, SCHEMA), "decode")["replicates"] == 5
    given["replicates"] = 8  # the study's, as where a round was added
    assert study_of(resolve(given, SCHEMA), "decode")["replicates"] == 8
    assert study_of(resolve({"versions": ["v0"]}, SCHEMA), "decode")["versions"] == ["v0"]


@pytest.mark.parametrize("key, value", [("replicates", 3.0), ("seed", 42.0), ("T_star", "8.0")])
def test_whole_numbers_with_a_point_are_whole_numbers(key, value):
    found = resolve({key: value}, SCHEMA)[key]
    assert found == float(value) and type(found) is int
    lists = resolve({"T_values": [8.0, "16.0"], "controls": {"again": 2.0}}, SCHEMA)
    assert [type(T) for T in lists["T_values"]] == [int, int]
    assert type(lists["controls"]["again"]) is int


def test_a_nested_configuration_without_end_is_refused():
    endless = {}
    endless["model_config"] = endless
    assert "nested too deep" in refusal(endless)


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "n: {x: 1, x: 2}\n"])
def test_a_key_given_twice_is_refused_with_its_place(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yaml gives config key '[ax]' 2 times"):
        check_written(path)
    path.write_text("a: &x {b: 1}\nc: *x\nd: [*x, *x]\n")
    check_written(path)


@pytest.mark.parametrize(
    "written, said",
    [
        (b"", "holds no configuration"),
        (b"- v1\n- v2\n", "holds no configuration"),
        (b"only text\n", "holds no configuration"),
        (b"\xff\xfes\0", "is not in UTF-8, at byte 0"),
        (b"study: caf\xe9\n", "is not in UTF-8, at byte 10"),
        (b"a: 1\nversions: [v1\n", "line 3, is not YAML"),
        (b"versions: *none\n", "undefined alias"),
        (b"a: 1\n---\nb: 2\n", "another document"),
        (b"study: !!python/name:os.system x\n", "could not determine a constructor"),
        (b"? [a]\n: 1\n", "unhashable key"),
        (b"study: 2020-13-45\n", "month must be in 1..12"),
        (b"study: a\0\n", "special characters are not allowed"),
        (b"seed: " + b"9" * 5000, "is not YAML"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, "recursion"),
        (b"a: &x\n  b: *x\n", "'a.b.b.b.b.b.b' is nested too deep"),
        (b"a: &x [*x]\n", "nested too deep"),
        (b"1: a\n", "has the key 1; allowed: text"),
    ],
)
def test_a_file_that_holds_no_configuration_is_refused_in_one_line(tmp_path, written, said):
    path = tmp_path / "mine.yaml"
    path.write_bytes(written)
    with pytest.raises(ConfigError) as refused:
        check_written(path)
    line = str(refused.value)
    assert said in line and "\n" not in line and len(line) < 400, line


def test_a_configuration_that_is_no_file_is_refused_in_one_line(tmp_path):
    for path, said in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "directory")):
        with pytest.raises(ConfigError, match=f"{path} cannot be read: .*{said}"):
            check_written(path)


def test_anchors_that_multiply_are_refused_at_once(tmp_path):
    path = tmp_path / "mine.yaml"
    rows = [f"a0: &a0 [{', '.join('x' * 100)}]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 100)}]" for n in range(1, 6)]
    path.write_text("\n".join(rows))
    with pytest.raises(ConfigError, match=r"mine\.yaml has more than 50000 values"):
        check_written(path)


def test_exports_that_a_study_lacks_are_named_before_any_job(tmp_path):
    shutil.copy("published/h200-9653dcf/roofline/roofs.json", tmp_path)
    study = {"versions": ["v1"], "roofline": {"source": "csv", "csv_dir": str(tmp_path)}}
    assert "lacks gpt2_v1_prefill_B1_P128.csv and 1 more" in refusal(study)
    for phase in ("prefill", "decode"):
        (tmp_path / f"gpt2_v1_{phase}_B1_P128.csv").touch()
    resolve(study, SCHEMA)
    (tmp_path / "gpt2_v1_decode_B1_P128.csv").unlink()
    assert "lacks gpt2_v1_decode_B1_P128.csv of" in refusal(study)


def test_a_log_file_may_be_new_or_hold_records_and_nothing_else(tmp_path):
    path = tmp_path / "log.jsonl"
    for text in (None, "", '{"schema_version": 2, "benchmark_name": "phase"}\n'):
        if text is not None:
            path.write_text(text)
        assert resolve({"log_file": str(path)}, SCHEMA)["log_file"] == str(path)
    for text in ("precious\n", "{}\n", "[1]\n", "null\n"):
        path.write_text(text)
        assert "holds no records of kvbench" in refusal({"log_file": str(path)})
        assert path.read_text() == text
    (tmp_path / "link.jsonl").symlink_to("README.md")
    assert "does not end in .jsonl" in refusal({"log_file": str(tmp_path / "link.jsonl")})
    (tmp_path / "folder.jsonl").mkdir()
    assert "holds no records" in refusal({"log_file": str(tmp_path / "folder.jsonl")})
    path.write_text('{"schema_version": 2, "benchmark_name": "phase"}\n')
    same = {"log_file": str(path), "compare": {"baseline": str(path)}}
    assert "it is the baseline" in refusal(same)
