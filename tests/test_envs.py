"""The conda environments: pinned as the lock file is, and complete for their jobs."""

import re

import pytest
import yaml
from project import ROOT

FILES = sorted((ROOT / "envs").glob("*.yaml"))
LOCK = dict(
    line.lower().split("==")
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if re.match(r"[A-Za-z0-9_.-]+==", line)
)
# What a job of the environment imports; the rest of the package never comes in there.
NEEDED = {
    "measure": {"torch", "numpy", "safetensors"},
    "figures": {"numpy", "scipy", "matplotlib", "pandas", "tabulate", "pyyaml"},
    "inputs": {"torch", "numpy", "safetensors", "tiktoken", "mwparserfromhell", "gguf"},
}


def pins(path):
    """The pip section's name -> version."""
    listed = yaml.safe_load(path.read_text())["dependencies"]
    section = next(item for item in listed if isinstance(item, dict))
    return dict(line.lower().split("==") for line in section["pip"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_pin_is_the_lock_file_s(path):
    for name, version in pins(path).items():
        assert LOCK[name] == version, f"{path.name} has another {name} than requirements.lock"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_conda_brings_python_and_pip_and_pip_the_rest(path):
    about = yaml.safe_load(path.read_text())
    assert about["channels"] == ["conda-forge"]
    plain = [d for d in about["dependencies"] if isinstance(d, str)]
    assert [re.split("[=<>]", d)[0] for d in plain] == ["python", "pip"]
    minor = plain[0].split("=")[-1]
    assert re.fullmatch(r"3\.\d+", minor)


@pytest.mark.parametrize("name", NEEDED)
def test_an_environment_lists_what_its_jobs_import(name):
    assert pins(ROOT / f"envs/{name}.yaml").keys() >= NEEDED[name]


def test_every_rule_that_runs_a_script_names_an_environment_that_exists():
    rules = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    named = re.findall(r'"\.\./envs/(\S+?)"', rules)
    assert len(named) == len(re.findall(r"^\s*script:", rules, re.M))
    assert set(named) <= {path.name for path in FILES}
