"""A job in an environment of its own uses no package of the host's."""

import ast
import subprocess
import sys
import sysconfig
import venv
from ast import Import, ImportFrom

import pytest
from project import ROOT

from kvbench.job.isolation import HOST, IsolationError, isolate_jobs

# As Snakemake begins every script: the host's search path, after the environment's own.
SCRIPT = f"""
import sys
sys.path.append({sysconfig.get_path("purelib")!r})
import snakemake.iocontainers
{{first}}
import kvbench
{{before}}
from kvbench.job.log import logged
with logged("log", "code.sha256"):
    {{within}}
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment that has one package, and not the host's."""
    folder = tmp_path_factory.mktemp("environment")
    venv.EnvBuilder().create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "mine.py").write_text("")
    return folder


def run(prefix, cwd, host=sys.prefix, **code):
    """A script's exit status and what it said, in a job that is isolated from `host`."""
    code_files = (ROOT / "src/kvbench").rglob("*.py")
    (cwd / "code.sha256").write_text("".join(f"0  {path}\n" for path in code_files))
    lines = {"first": "", "before": "", "within": "pass"} | code
    found = {"PYTHONPATH": str(ROOT / "src")} | ({HOST: host} if host else {})
    command = [f"{prefix}/bin/python", "-c", SCRIPT.format(**lines)]
    done = subprocess.run(command, cwd=cwd, env=found, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("when", ["before", "within"])
def test_the_environment_s_own_packages_are_used(environment, tmp_path, when):
    assert run(environment, tmp_path, **{when: "import mine"}) == (0, "")


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_package_that_only_the_host_has_is_not_there(environment, tmp_path, when):
    code, said = run(environment, tmp_path, **{when: "import yaml"})
    assert code == 1 and said.count("\n") == 1
    assert f"No module named 'yaml' in this job's environment, {environment}" in said


def test_a_package_that_was_taken_from_the_host_before_is_refused(environment, tmp_path):
    code, said = run(environment, tmp_path, first="import yaml")
    assert (
        code == 1
        and said.startswith("IsolationError: yaml was loaded from the host")
        and said.count("\n") == 1
    )


def test_scripts_load_kvbench_first():
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    for path in (p for p in (ROOT / "scripts").glob("*.py") if p.name in rules):
        nodes = [n for n in ast.parse(path.read_text()).body if isinstance(n, Import | ImportFrom)]
        names = [getattr(node, "module", None) or node.names[0].name for node in nodes]
        others = {name.split(".")[0] for name in names} - sys.stdlib_module_names
        assert others == {"kvbench"}, path.name


def test_without_isolation_the_host_s_packages_are_used(environment, tmp_path):
    assert run(environment, tmp_path, None, before="import yaml", within="import jinja2")[0] == 0


def test_a_job_in_no_environment_is_refused(tmp_path):
    code, said = run(sys.prefix, tmp_path)
    assert code == 1 and "Snakemake's own Python" in said


def test_an_environment_with_another_python_is_refused(tmp_path):
    (tmp_path / "new.yaml").write_text("dependencies:\n  - python=3.99\n  - pip\n")
    with pytest.raises(
        IsolationError, match="new.yaml gives jobs Python 3.99, but Snakemake runs on"
    ):
        isolate_jobs(tmp_path)
