"""The quick study with every job in an environment of its own, and with a package missing there.

The conda command is a stand-in over a local channel; pip, its wheels and the jobs are real.
"""

import asyncio
import json
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import channel
import conda_standin
import pytest
import yaml
from project import ROOT, copy, snakemake

from kvbench.records import schema

pytestmark = pytest.mark.conda
QUICK = ("--sdm", "conda", "--configfile", "config/quick.yaml")


@pytest.fixture(scope="module")
def project():
    """A copy of the project with the quick study made in it."""
    with (
        tempfile.TemporaryDirectory(prefix="kvbench-conda-") as folder,  # gigabytes: not to be kept
        pytest.MonkeyPatch.context() as patch,
    ):
        conda, project = Path(folder, "conda"), Path(folder, "project")
        asyncio.run(channel.make(conda / "channel"))
        patch.setenv("PATH", str(conda_standin.lay(conda)), prepend=":")
        patch.setenv("PIP_NO_COMPILE", "1")  # what jobs load is compiled when they load it
        project.mkdir()
        snakemake(copy(project), "all", *QUICK)
        yield project


def environments(project):
    """Each environment that Snakemake made, by the name of the file it was made from."""
    sources = {path.read_text(): path.stem for path in project.glob("envs/*.yaml")}
    made = project.glob(".snakemake/conda/*.yaml")
    return {sources[path.read_text()]: path.with_suffix("") for path in made}


def pins(file):
    """The pip section's lines."""
    listed = yaml.safe_load(file.read_text())["dependencies"]
    return next(section for section in listed if isinstance(section, dict))["pip"]


@contextmanager
def lacking(project, environment, package):
    """An environment without a package: out of every search path meanwhile."""
    (folder,) = environments(project)[environment].glob(f"lib/python*/site-packages/{package}")
    gone = folder.rename(project.parent / package)
    yield
    gone.rename(folder)


def test_every_record_was_measured_in_the_measuring_environment(project):
    lines = (project / "results/quick/results.jsonl").read_text().splitlines()
    assert schema.check_lines(lines, "results.jsonl") == len(lines) > 8
    measuring = environments(project)["measure.cpu"].relative_to(project).as_posix()
    for record in map(json.loads, lines):
        assert record["isolated"] and record["python_environment"] == measuring
        assert record["pytorch_version"] == "2.13.0+cpu"
        assert f"numpy=={record['libraries']['numpy']}" in pins(project / "envs/measure.cpu.yaml")


def test_an_environment_holds_its_pins_and_pip_and_nothing_else(project):
    made = environments(project)
    assert made.keys() == {"measure.cpu", "inputs", "figures"}
    for name, folder in made.items():
        freeze = [folder / "bin/python", "-m", "pip", "list", "--format=freeze"]
        held = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout.split()
        linked = sorted(path.stem.split("-")[0] for path in folder.glob("conda-meta/*.json"))
        assert linked == ["pip", "python"]
        assert {line.lower() for line in held if not line.startswith("pip==")} == {
            line.lower() for line in pins(project / f"envs/{name}.yaml")
        }


def test_what_was_made_is_up_to_date(project):
    assert "Nothing to be done" in snakemake(project, "--dry-run", "all", *QUICK)


@pytest.mark.parametrize(
    "environment,package,target",
    [
        ("figures", "matplotlib", "results/quick/figures/vram_nano.svg"),  # loaded by the script
        ("measure.cpu", "torch", "results/quick/vram/nano/v1/B1/T8.json"),  # loaded in the job
    ],
)
def test_a_package_that_an_environment_lacks_is_not_taken_from_the_host(
    project, environment, package, target
):
    (project / target).unlink()
    with lacking(project, environment, package):
        said = snakemake(project, target, *QUICK, check=False)
    (line,) = (line for line in said.splitlines() if "in this job's environment" in line)
    assert line.startswith(f"ModuleNotFoundError: No module named '{package}'")
    assert str(environments(project)[environment]) in line
    assert not (project / target).exists()
    snakemake(project, target, *QUICK)
    assert (project / target).exists()


def test_every_pin_of_the_cuda_environments_is_in_the_package_registry():
    """They are too large to install here: each release is looked up."""
    known = {pin for name in ("measure", "peers") for pin in pins(ROOT / f"envs/{name}.cpu.yaml")}
    for name in ("measure", "peers"):
        for pin in set(pins(ROOT / f"envs/{name}.cuda.yaml")) - known:
            package, version = re.split("={2,3}", pin)
            known.add(pin)
            ask = [sys.executable, "-m", "pip", "index", "versions", package]
            found = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
            assert version in re.search("Available versions: (.*)", found)[1].split(", "), pin
