"""The registries say what the versions and presets are, and refuse what they do not know."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
import torch

from kvbench import versions
from kvbench.costs import forward as costs
from kvbench.costs.layer_map import owners
from kvbench.engine.generate import generate
from kvbench.models.build import build
from kvbench.models.weights import save
from kvbench.presets import PRESETS, get_preset
from kvbench.records.names import cache_names

KNOWN_SIZES = {  # published parameter counts
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "smollm2": 134_515_008,
    "pythia-160m": 162_322_944,
    "qwen2.5-0.5b": 494_032_768,
    "qwen3-0.6b": 596_049_920,
    "gemma-3-1b": 999_885_952,
    "llama-3.2-1b": 1_235_814_400,
    "olmo-2-1b": 1_484_916_736,
    "smollm3-3b": 3_075_098_624,
    "llama-3.1-8b": 8_030_261_248,
}


def test_v2_is_what_the_registry_promises():
    assert versions.get_version_config("v2") == {
        "description": "KV-cache + INT8 quantization",
        "use_cache": True,
        "kv_cache_quant": True,
        "cross_layer_sharing": False,
    }


def test_flags_of_all_versions():
    flags = {
        v: (
            versions.get_use_cache(v),
            versions.get_kv_cache_quant(v),
            versions.get_cross_layer_sharing(v),
        )
        for v in ("v0", "v1", "v2", "v3", "v4")
    }
    assert flags == {
        "v0": (False, False, False),
        "v1": (True, False, False),
        "v2": (True, True, False),
        "v3": (True, False, True),
        "v4": (True, True, True),
    }


def test_a_version_s_config_is_a_copy():
    versions.get_version_config("v1")["use_cache"] = False
    assert versions.get_use_cache("v1")


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'v99'.*v0, v1, v2, v3, v4"):
        versions.get_version_config("v99")
    with pytest.raises(ValueError, match="'gpt3'.*gpt2, gpt2-medium"):
        get_preset("gpt3")


def test_every_version_has_a_name_of_its_own_that_does_for_its_number():
    assert {"v0": "none", "v1": "dense", "v2": "int8", "v4": "int8-shared"}.items() <= (
        versions.NAMES.items()
    )
    assert len(set(versions.NAMES.values())) == len(versions.VERSIONS)
    assert not versions.VERSIONS.keys() & set(versions.NAMES.values())
    for version, name in versions.NAMES.items():
        assert versions.version_of(name) == versions.version_of(version) == version
        assert versions.get_version_config(name) == versions.get_version_config(version)
        assert versions.storage(name) == versions.storage(version)
    with pytest.raises(ValueError, match="'int9'.*by name none, dense, int8"):
        versions.get_version_config("int9")


def test_a_name_that_is_taken_gets_its_version_s_number():
    line = {"cache": "int8", "cross_layer_sharing": False}
    assert cache_names({"v2": line, "v17": line}) == {"v2": "int8", "v17": "int8-v17"}


def test_the_registry_lists_itself():
    command = [sys.executable, "-m", "kvbench.versions"]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert all(f"{version} " in done.stdout for version in versions.VERSIONS)
    assert all(f" {name} " in done.stdout for name in versions.NAMES.values())


def test_the_registry_s_program_takes_no_other_word_and_a_pipe_that_closes():
    environment = {"PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-m", "kvbench.versions"]
    done = subprocess.run([*command, "--markdwon"], capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and "unrecognized arguments: --markdwon" in done.stderr
    piped = f"{' '.join(command)} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", piped], capture_output=True, text=True, env={**environment, **os.environ}
    )
    assert "Traceback" not in done.stderr and done.returncode == 0


def test_a_model_loads_for_a_version():
    model, line = versions.load_model_for_version("v3", "nano", "bfloat16")
    assert line == versions.get_version_config("v3")
    assert not model.training and model.lm_head.weight.dtype.itemsize == 2
    assert model.transformer["h"][1].attn.c_attn.weight.shape == (192, 192)  # a borrower: Q only


@pytest.mark.parametrize("version", versions.VERSIONS)
def test_a_loaded_model_generates_with_its_version_s_cache(version, tmp_path):
    weights = tmp_path / "random.safetensors"
    save(weights, dict(build(PRESETS["nano"], device="cpu").named_parameters()))
    model, _ = versions.load_model_for_version(version, "nano", "float32", str(weights))
    prompt = torch.randint(0, 8192, (2, 5), generator=torch.Generator().manual_seed(0))
    cache = model.new_cache(2, 8)
    assert type(cache).__module__ == f"kvbench.caches.{versions.cache_module(version)}"
    assert cache.layers == sorted(set(owners(versions.layer_map(version), 4)))
    tokens = generate(model, prompt.to(model.lm_head.weight.device), 3)
    assert tokens.shape == (2, 8) and torch.equal(tokens, generate(model, prompt, 3, cache))


def test_a_fitted_version_takes_its_fitted_weights_or_says_what_makes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="not made yet: run `snakemake .*versions=.v1,v14"):
        versions.load_model_for_version("v14", "nano")
    fitted = build(PRESETS["nano"], dtype="bfloat16", seed=7, device="cpu")
    path = tmp_path / "resources/weights/nano/trained-4000-42.calibrated-pairs.safetensors"
    save(path, dict(fitted.named_parameters()))
    model, _ = versions.load_model_for_version("v14", "nano")
    assert torch.equal(model.lm_head.weight.cpu(), fitted.lm_head.weight)
    save(path.with_name("trained-20-42.calibrated-pairs.safetensors"), {})
    with pytest.raises(ValueError, match="several files fit v14.*trained-20-42.*trained-4000-42"):
        versions.load_model_for_version("v14", "nano")


def test_a_directory_is_loaded_as_a_version(tmp_path):
    folder = tiny_models.saved("gemma3", tmp_path / "g")
    model, line = versions.load_model_for_version("v3", str(folder), "float32")
    assert line["cross_layer_sharing"] and model.config.owning_layers == [0, 2]
    tokens = generate(
        model, torch.zeros(1, 1, dtype=torch.long, device=model.lm_head.weight.device), 3
    )
    assert tokens.shape == (1, 4)
    with pytest.raises(FileNotFoundError, match="weights/g/.*not made yet"):
        versions.load_model_for_version("v14", str(folder))


def test_a_model_of_no_version_asks_for_a_cache():
    model = build(PRESETS["nano"], dtype="float32", device="cpu")
    with pytest.raises(ValueError, match="not loaded as a version: give the cache"):
        generate(model, torch.zeros(1, 1, dtype=torch.long), 1)


@pytest.mark.parametrize("preset", KNOWN_SIZES)
def test_presets_have_the_published_sizes(preset):
    shape = PRESETS[preset]
    assert (
        sum(costs.n_params(shape, owners("own", shape["n_layer"])).values()) == KNOWN_SIZES[preset]
    )


@pytest.mark.parametrize(
    "name,n_layer,expected",
    [
        ("own", 3, [0, 1, 2]),
        ("pairs", 4, [0, 0, 2, 2]),
        ("pairs", 5, [0, 0, 2, 2, 4]),  # an odd last layer owns its own
        ("triples", 5, [0, 0, 0, 3, 3]),
        ([0, 1, 1, 1, 4], 5, [0, 1, 1, 1, 4]),
    ],
)
def test_layer_maps(name, n_layer, expected):
    assert owners(name, n_layer) == expected


@pytest.mark.parametrize("wrong", [[1, 1], [0, 0, 1], [0], "quads"])
def test_a_layer_map_that_reads_what_nobody_owns_is_refused(wrong):
    with pytest.raises(ValueError, match="layer map"):
        owners(wrong, 2 if len(wrong) < 3 else 3)


def test_the_readme_shows_the_registry():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert versions.listing(markdown=True) in readme
