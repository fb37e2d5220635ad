"""A cache outside the package is measured as one of the registry is, and follows its file."""

import json
import os

import pytest
from project import copy, snakemake

from kvbench import versions
from kvbench.plan import own_caches
from kvbench.plan.config import ConfigError, load_schema, resolve

STUDY = """
pretrained: null
model_config: {n_layer: 1, n_head: 2, n_embd: 32, block_size: 64, vocab_size: 128}
benchmarks: [vram]
kernel: torch
caches: {mine: elsewhere/my_cache.py}
versions: [dense, mine]
T_values: [4]
num_measure_runs: 1
num_warmup_runs: 0
"""
OWN = '''"""INT8, as if it were mine."""

from kvbench.caches.int8 import KVCache  # noqa: F401
'''
CELL = "results/own/vram/custom/mine/B1/T4.json"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = copy(tmp_path_factory.mktemp("own"))
    (folder / "config/own.yaml").write_text(STUDY)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/my_cache.py").write_text(OWN)
    return folder


def test_a_file_is_measured_and_an_edit_of_it_measures_it_again(project):
    ask = (CELL, CELL.replace("mine", "v1"), "--configfile", "config/own.yaml")
    snakemake(project, *ask)
    record = json.loads((project / CELL).read_text())
    assert record["version"] == "mine" and record["cache"] == "elsewhere/my_cache.py"
    assert record["version_description"] == "INT8, as if it were mine."
    assert record["cache_bytes_per_token"] == 2 * 2 * (16 + 4)
    assert "Nothing to be done" in snakemake(project, "--dry-run", *ask)
    os.utime(project / "elsewhere/my_cache.py")
    assert "Nothing to be done" in snakemake(project, "--dry-run", *ask)
    with open(project / "elsewhere/my_cache.py", "a") as file:
        file.write("# an edit\n")
    planned = snakemake(project, "--dry-run", *ask)
    assert f"output: {CELL}" in planned
    assert f"output: {CELL.replace('mine', 'v1')}" not in planned


def given(**caches):
    return {"caches": caches, "versions": ["v1", *caches]}


@pytest.mark.parametrize(
    "caches, words",
    [
        ({"v1": "a.py"}, "'v1' is a version already"),
        ({"int8": "a.py"}, "'int8' is a version already"),
        ({"mine": "nowhere.py"}, "'caches.mine' is 'nowhere.py'; allowed: an existing Python file"),
        ({"mine": "pyproject.toml"}, "an existing Python file"),
        ({"a_b": "tests/conftest.py"}, "the name 'a_b'; allowed: at most 50 letters"),
        ({"../up": "tests/conftest.py"}, "the name '../up'"),
        ({"mine": 3}, "'caches.mine' is 3"),
        ({"mine": {}}, "'caches.mine'"),
    ],
)
def test_what_names_no_cache_is_refused(caches, words):
    with pytest.raises(ConfigError, match=words.replace("(", "[(]")):
        own_caches.register(given(**caches))
        resolve(given(**caches), load_schema())


def test_a_package_brings_its_own_by_an_entry_point(monkeypatch, tmp_path):
    package = tmp_path / "turbo"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cache.py").write_text("from kvbench.caches.int8 import KVCache as Turbo\n")
    about = tmp_path / "turbo-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: turbo\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[kvbench.caches]\nturbo = turbo.cache:Turbo\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    own_caches.installed.cache_clear()
    try:
        own_caches.register({})
    finally:
        own_caches.installed.cache_clear()
    assert versions.cache_module("turbo") == "turbo.cache:Turbo"
    assert resolve({"versions": ["dense", "turbo"]}, load_schema())["versions"] == ["v1", "turbo"]
    assert own_caches.source("turbo.cache:Turbo") == str(package / "cache.py")
    model, _ = versions.load_model_for_version("turbo", "nano", "float32")
    assert type(model.new_cache(1, 8)).__module__ == "kvbench.caches.coded"
