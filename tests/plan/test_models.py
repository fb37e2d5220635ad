"""Models named by where they lie: their names, shapes, weights and refusals before any job."""

import json

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from kvbench.plan import cells, resources, weight_paths
from kvbench.plan.config import ConfigError, load_schema, resolve
from kvbench.plan.study import quality_presets, tokenizer_for


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory whose name is no part of a path as it stands, with a tokenizer's file."""
    path = tiny_models.saved("qwen2", tmp_path_factory.mktemp("models") / "My model (v1.5)")
    (path / "tokenizer.json").write_text("{}")
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resolved(*pretrained, **given):
    study = {"pretrained": [*map(str, pretrained)], "device": "cpu", "roofline": {"P": 64}}
    return resolve({**study, **given}, load_schema())


def refusal(*pretrained, **given):
    with pytest.raises(ConfigError) as refused:
        resolved(*pretrained, **given)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_directory_is_a_preset_of_its_name(folder, here):
    config = resolved(folder, "nano", perplexity={"context": {"My-model-v1.5": 64}})
    assert config["pretrained"] == ["My-model-v1.5", "nano"]
    cell = cells.cell(config, "perplexity", "My-model-v1.5", "v1")
    assert cell.weights == "path" and cell.context == 64 and cell.max_windows == 8
    assert cell.model_config["qkv_bias"] and "weights" not in cell.model_config
    assert weight_paths.weights_file(config, "My-model-v1.5", "v4") == str(folder)
    assert "My-model-v1.5" in quality_presets(config)
    assert tokenizer_for(config, "My-model-v1.5") == "My-model-v1.5"
    fitted = weight_paths.weights_file(config, "My-model-v1.5", "v14")
    assert fitted == "resources/weights/My-model-v1.5/My-model-v1.5.calibrated-pairs.safetensors"
    assert resources.memory_mb(config, {"preset": "My-model-v1.5", "T": "8"}) > 2000


def test_a_config_alone_is_a_shape_with_seeded_weights_and_no_perplexity(folder, here):
    config = resolved(f"config:{folder}/config.json", folder)
    shape_only = "My-model-v1.5-shape"
    assert config["pretrained"] == [shape_only, "My-model-v1.5"]
    cell = cells.cell(config, "latency", shape_only, "v1", batch=1, T=8)
    assert cell.weights == "random"
    random = f"resources/weights/{shape_only}/random-42.safetensors"
    assert weight_paths.weights_file(config, shape_only) == random
    assert shape_only not in quality_presets(config)
    seeded = resolved(folder, weights={"My-model-v1.5": "random"})
    assert cells.cell(seeded, "latency", "My-model-v1.5", "v1", batch=1, T=8).weights == "random"


def test_names_that_are_taken_or_met_twice(folder, here):
    link = here / "gpt2"
    link.mkdir()
    for path in folder.iterdir():
        (link / path.name).write_bytes(path.read_bytes())
    assert resolved(link)["pretrained"] == ["gpt2-local"]
    other = here / "other" / "gpt2"
    other.parent.mkdir()
    other.symlink_to(link)
    assert "would both be called gpt2-local" in refusal(link, here / "other/../other/gpt2/.")


@pytest.mark.parametrize(
    "named, said",
    [
        ("no/such/folder", "no/such/folder is no directory; allowed: a preset's name, a directory"),
        ("config:none.json", "none.json cannot be read: No such file"),
        ("./empty", "empty/config.json cannot be read"),
        ("qwen3-0.7b", "'qwen3-0.7b']; allowed: gpt2, "),
    ],
)
def test_what_lies_nowhere_is_refused(here, named, said):
    (here / "empty").mkdir()
    assert said in refusal(named)


def copied(folder, to):
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_broken_directories_are_refused_before_any_job(folder, here):
    broken = copied(folder, here / "broken")
    shards = sorted(broken.glob("*.safetensors"))
    tensors = load_file(shards[1])
    good = shards[1].read_bytes()
    next(iter(tensors.values())).view(-1)[0] = torch.inf
    save_file(tensors, shards[1])
    assert "has NaN, infinite or, for float32, too large numbers" in refusal(broken)
    shards[1].write_bytes(good)
    tiny_models.edit(broken, num_hidden_layers=5)
    assert "lacks the tensor layers.4." in refusal(broken)
    tiny_models.edit(broken, num_hidden_layers=4, attn_logit_softcapping=50.0)
    assert "attn_logit_softcapping is 50.0, which is not implemented" in refusal(broken)
    (broken / "config.json").write_bytes((folder / "config.json").read_bytes())
    for text in ("", '{"model": ', "[]"):
        (broken / "tokenizer.json").write_text(text)
        assert "tokenizer.json is not a whole tokenizer" in refusal(broken)
    (broken / "tokenizer.json").unlink()
    assert "neither tokenizer.json nor vocab.json" in refusal(broken)
    assert resolved(broken, benchmarks=["latency"])["pretrained"] == ["broken"]
    shards[0].unlink()
    assert f"lacks {shards[0].name}, one of {len(shards)}" in refusal(broken)


def test_a_fit_in_closed_form_is_refused_where_the_model_does_not_allow_it(here):
    folder = tiny_models.saved("qwen3, head of 96", here / "normed")
    (folder / "tokenizer.json").write_text("{}")
    said = refusal(folder, versions=["v1", "v14"])
    assert "'versions' names v14" in said and "QK-norm; leave v14 out" in said
    trained = refusal(folder, versions=["v1", "v12"])
    assert "trained in the workflow" in trained


def test_the_cells_of_a_model_stay_plain_data(folder, here):
    config = resolved(tiny_models.saved("gemma3", here / "g"), benchmarks=["latency"])
    param = cells.cell(config, "latency", "g", "v3", batch=1, T=8).param()
    assert json.loads(json.dumps(param)) == param
    tiny = cells.cell(config, "dispatch", "g", "v1", batch=1, depth=8).model_config
    assert tiny["head_dim"] == 32 and tiny["windows"] == [8, 8, 0, 8]
