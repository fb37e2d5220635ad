"""Models by their names on the hub: looked up when planned, fetched by jobs, refused in a line."""

import json
import os
import shutil
import subprocess
import sys

import forked
import pytest
import tiny_models
import torch
from hub_server import Hub, served
from project import ROOT, copy, environment, snakemake
from tokenizers import Tokenizer, models, pre_tokenizers

from kvbench.bench.quality.one_forward import cached_logits
from kvbench.models.build import build
from kvbench.models.hf_config import read_shape

STUDY = """
pretrained: tiny/Qwen3-tiny
benchmarks: [perplexity]
dtype: float32
kernel: torch
versions: [v1]
perplexity: {presets: [], context: 32, max_windows: 2, probes: 1}
"""
FOLDER = "resources/models/tiny--Qwen3-tiny"
CELL = "results/hub/perplexity/Qwen3-tiny/v1.json"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A tiny model in shards, with a tokenizer of words."""
    folder = tiny_models.saved("qwen3, head of 96", tmp_path_factory.mktemp("hub") / "files")
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "of": 2}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def hub(tmp_path, repository, monkeypatch):
    """A hub that holds the model, and an empty cache."""
    hub = Hub()
    hub.add("tiny/Qwen3-tiny", repository)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with served(hub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield hub


def made(folder):
    folder.mkdir()
    return folder


def fit(folder, name):
    """`kvbench fit` of a model, which looks it up: its exit status and what it said."""
    env = environment(folder) | {"PYTHONPATH": str(ROOT / "src")}
    done = forked.python("kvbench", "fit", "--model", name, folder=folder, env=env)
    return done.returncode, done.stdout + done.stderr


def test_a_model_is_looked_up_when_planned_and_fetched_by_jobs(tmp_path, hub, repository):
    project = copy(made(tmp_path / "project"))
    (project / "config/hub.yaml").write_text(STUDY)
    ask = (CELL, "--configfile", "config/hub.yaml")
    planned = snakemake(project, "--dry-run", *ask)
    shards = sorted(path.name for path in repository.glob("*.safetensors"))
    assert all(f"{FOLDER}/{name}" in planned for name in [*shards, "tokenizer.json"])
    assert not any("safetensors" in asked and "index" not in asked for asked in hub.asked)
    about = json.loads((project / FOLDER / "hub.json").read_text())
    assert about["repository"] == "tiny/Qwen3-tiny" and about["commit"] == "a" * 40
    os.makedirs(project / "resources/text")
    (project / "resources/text/mini-wiki.test.txt").write_text("the lake of the north " * 20)
    rules = ("fetch_hub_file", "tokenize_text", "measure_perplexity")
    snakemake(project, *ask, "--allowed-rules", *rules)
    record = json.loads((project / CELL).read_text())
    assert record["weights"] == "path" and record["weights_revision"] == "a" * 40
    asked = len(hub.asked)
    assert "Nothing to be done" in snakemake(project, "--dry-run", *ask)
    assert len(hub.asked) == asked

    shape = read_shape(project / FOLDER / "config.json")
    ours = build(shape, "own", "float32", project / FOLDER, device="cpu")
    ids = torch.randint(157, (1, 20), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = tiny_models.tiny("qwen3, head of 96")(ids).logits
        found = cached_logits(ours, "none", ids)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    "status, said",
    [
        ((404, "RepoNotFound"), "tiny/Qwen3-tiny is no model of the hub, or a private one"),
        ((401, "RepoNotFound"), "tiny/Qwen3-tiny is no model of the hub, or a private one"),
        ((401, None), "tiny/Qwen3-tiny is no model of the hub, or a private one"),
        ((403, "GatedRepo"), "tiny/Qwen3-tiny is gated: accept its terms there and set HF_TOKEN"),
        ((404, "RevisionNotFound"), "tiny/Qwen3-tiny has no revision None"),
        ((500, None), "the hub cannot be reached for a model of this name (Server error '500"),
        ((429, None), "the hub cannot be reached for a model of this name (429 Too Many"),
    ],
)
def test_what_the_hub_does_not_give_is_said_in_one_line(tmp_path, hub, status, said):
    hub.status = status
    refused(tmp_path, "tiny/Qwen3-tiny", said)
    assert not (tmp_path / "resources").exists()


def refused(folder, name, said):
    """`kvbench fit` says no in one line of these words."""
    status, line = fit(folder, name)
    assert status == 2 and said in line and line.count("\n") == 1, line
    assert "or name a directory, or config:PATH/config.json" in line


def test_without_a_hub_a_name_is_refused_unless_it_was_looked_up_before(tmp_path, hub, monkeypatch):
    assert fit(tmp_path, "tiny/Qwen3-tiny")[0] == 0
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert fit(tmp_path, "tiny/Qwen3-tiny")[0] == 0
    refused(tmp_path, "tiny/other", "the hub cannot be reached for a model of this name ([Errno")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused(tmp_path, "tiny/other", "offline mode is enabled")


def test_what_the_cache_of_huggingface_hub_holds_needs_no_hub(tmp_path, hub, monkeypatch):
    env = {key: os.environ[key] for key in ("HF_HOME", "HF_ENDPOINT", "PATH")}
    fetch = "import huggingface_hub as h; h.snapshot_download('tiny/Qwen3-tiny')"
    subprocess.run([sys.executable, "-c", fetch], env=env, check=True, capture_output=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fit(tmp_path, "tiny/Qwen3-tiny")[0] == 0
    about = json.loads((tmp_path / FOLDER / "hub.json").read_text())
    assert about["commit"] == "a" * 40 and len(about["files"]) > 6


def test_a_revision_is_a_model_of_its_own(tmp_path, hub, repository):
    other = shutil.copytree(repository, tmp_path / "other")
    tiny_models.edit(other, num_hidden_layers=3)
    hub.add("tiny/Qwen3-tiny", other, "b" * 40, "v2")
    assert "Qwen3-tiny-v2 in bfloat16" in fit(tmp_path, "tiny/Qwen3-tiny@v2")[1]
    assert "Qwen3-tiny in bfloat16" in fit(tmp_path, "tiny/Qwen3-tiny")[1]
    commits = [
        json.loads((tmp_path / f"{FOLDER}{at}" / "hub.json").read_text())["commit"]
        for at in ("", "@v2")
    ]
    assert commits == ["a" * 40, "b" * 40]
    refused(tmp_path, "tiny/Qwen3-tiny@v3", "tiny/Qwen3-tiny has no revision 'v3'")
    hub.add("tiny/Qwen3-tiny", other, "b" * 40)  # main moves on: what was looked up stays
    fit(tmp_path, "tiny/Qwen3-tiny")
    about = json.loads((tmp_path / FOLDER / "hub.json").read_text())
    assert about["commit"] == "a" * 40


def test_a_repository_without_what_makes_a_model_is_refused(tmp_path, hub, repository):
    bare = tmp_path / "bare"
    bare.mkdir()
    hub.add("tiny/bare", bare)
    refused(tmp_path, "tiny/bare", "tiny/bare holds no config.json")
    (bare / "config.json").write_bytes((repository / "config.json").read_bytes())
    (bare / "pytorch_model.bin").write_bytes(b"")
    project = copy(made(tmp_path / "project"))
    hub.add("tiny/pickled", bare)
    study = STUDY.replace("tiny/Qwen3-tiny", "tiny/pickled")
    (project / "config/hub.yaml").write_text(study)
    said = snakemake(project, "--dry-run", "--configfile", "config/hub.yaml", check=False)
    assert "pytorch_model.bin may run code and is not opened: save it as safetensors" in said
    assert said.splitlines()[-1].startswith("config key 'pretrained'")


def test_weights_that_the_hub_lacks_are_named_before_a_job_or_by_it(tmp_path, hub, repository):
    other = shutil.copytree(repository, tmp_path / "other")
    gone, late = sorted(other.glob("*.safetensors"))[:2]
    hub.add("tiny/Qwen3-tiny", other)
    project = copy(made(tmp_path / "project"))
    (project / "config/hub.yaml").write_text(STUDY)
    content = gone.read_bytes()
    gone.unlink()
    said = snakemake(project, "--dry-run", "--configfile", "config/hub.yaml", check=False)
    assert f"lacks {gone.name}, one of" in said.splitlines()[-1]
    gone.write_bytes(content)
    shutil.rmtree(project / "resources/models")
    ask = (f"{FOLDER}/{late.name}", "--configfile", "config/hub.yaml", "--retries", "0")
    snakemake(project, "--dry-run", *ask)
    late.unlink()
    said = snakemake(project, *ask, check=False)
    assert f"HubError: tiny/Qwen3-tiny lacks {late.name}, or name a directory" in said
