"""The conda environments: pinned throughout, as the lock file is, and complete for their jobs."""

import ast
import re
import sys
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from project import ROOT

from kvbench.plan.code_inputs import reachable

FILES = sorted((ROOT / "envs").glob("*.yaml"))
TORCH = {"cpu": "==2.13.0+cpu", "cuda": "===2.13.0"}
# Packages that a job may come across in code it never calls, or does without.
NOT_NEEDED = {
    "measure": {"transformers", "datasets", "tiktoken"},  # the hub's weights and texts: converted
    # optional, a peer that is missing says so; llama_cpp by its module's name where it is missing
    "peers": {"ctranslate2", "gguf", "llama-cpp", "llama-cpp-python"},
    "figures": {"safetensors", "nvidia-ml-py"},  # of the jobs that measure and profile
}
# Modules that scripts load by name.
BY_NAME = {
    "inputs": ("models",),
    "measure": ("caches", "models", "bench", "bench/quality"),
    "peers": ("caches", "models", "bench", "peers"),
    "figures": ("analysis", "report", "report/figures"),
}
MODULES = metadata.packages_distributions()
LOCK = {
    canonicalize_name(line.split("==")[0]): line
    for line in (ROOT / "requirements.lock").read_text().split()
    if "==" in line
}


def pins(path):
    """The pip section: canonical name -> its line."""
    listed = yaml.safe_load(path.read_text())["dependencies"]
    section = next(item for item in listed if isinstance(item, dict))
    return {canonicalize_name(Requirement(line).name): line for line in section["pip"]}


def scripts():
    """The scripts of each environment, by its name without the build of torch."""
    rules = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    named = re.findall(r'conda:\s+(\S[^\n]*)\n.*?script:\s+"../scripts/(\S+)"', rules, re.DOTALL)
    assert len(named) == len(re.findall(r"^\s*script:", rules, re.MULTILINE))
    found = {}
    for conda, script in named:
        for name in re.findall(r'"(?:../envs/)?(\w+)(?:.yaml)?"(?! else)', conda):
            found.setdefault(name, set()).add(ROOT / "scripts" / script)
    return found


def imported(environment):
    """The packages that the code of an environment's jobs imports, anywhere in it."""
    by_name = [
        f"kvbench.{package.replace('/', '.')}.{path.stem}"
        for package in BY_NAME.get(environment, ())
        for path in (ROOT / "src/kvbench" / package).glob("[a-z]*.py")
    ]
    files = {file for script in scripts()[environment] for file in reachable(script, *by_name)}
    names = set()
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text()))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    tops = {name.split(".")[0] for name in names} - sys.stdlib_module_names
    tops -= {"kvbench", "snakemake", "tiktoken_ext"}
    return {canonicalize_name(MODULES.get(top, [top])[0]) for top in tops}


def due(names):
    """These packages and all that they need in turn, as this environment's metadata has it."""
    seen, queue = set(), list(names)
    while queue:
        name = canonicalize_name(queue.pop())
        if name not in seen:
            seen.add(name)
            needed = map(Requirement, metadata.requires(name) or [])
            queue += [r.name for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
    return seen


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_pin_is_the_lock_file_s_but_for_torch_s_build(path):
    build = path.stem.split(".")[-1]
    for name, line in pins(path).items():
        if name == "torch":
            assert line == "torch" + TORCH["cuda" if build == "cuda" else "cpu"]
            assert LOCK[name] in line.replace("===", "==")
        elif build == "cuda" and name.startswith(("nvidia-", "cuda-")):
            assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", line)
        else:
            assert line == LOCK[name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_conda_brings_python_and_pip_and_pip_the_rest(path):
    about = yaml.safe_load(path.read_text())
    assert about["channels"] == ["conda-forge"]
    assert [d for d in about["dependencies"] if isinstance(d, str)] == ["python=3.11", "pip"]


def test_builds_of_one_environment_differ_in_what_cuda_needs():
    for name in ("measure", "peers"):
        cpu, cuda = (pins(ROOT / f"envs/{name}.{build}.yaml") for build in TORCH)
        more = cuda.keys() - cpu.keys()
        assert more and all(re.match("nvidia-|cuda-|triton$", package) for package in more)
        assert {n for n in cpu if cpu[n] != cuda.get(n)} == {"torch"}


def test_there_is_a_file_for_every_environment_that_a_rule_names():
    assert {path.stem.split(".")[0] for path in FILES} == scripts().keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_environment_pins_what_its_jobs_import_and_what_that_needs(path):
    name, _, build = path.stem.partition(".")
    direct = imported(name) - NOT_NEEDED.get(name, set())
    if build == "cpu":
        direct -= {"triton", "nvidia-ml-py"}  # kernels and counters of a GPU
    assert (due(direct) & LOCK.keys()) - ({"triton"} - direct) <= pins(path).keys()
