"""What a script reaches is found without running it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvbench.benchmarks import BENCHMARKS
from kvbench.plan import code_inputs
from kvbench.plan.code_inputs import reachable, write_listing
from kvbench.records.provenance import listed

LIGHT = [
    "versions",
    "presets",
    "plan.config",
    "plan.config_checks",
    "plan.cells",
    "plan.code_inputs",
]
LIGHT += ["costs.forward", "costs.layer_map", "job.log", "job.measure", "ncu"]
LIGHT += [f"records.{name}" for name in ("store", "read", "provenance", "byte_sums", "schema")]
HEAVY = ("torch", "numpy", "pandas", "matplotlib", "scipy", "transformers", "datasets")


def names(script, *modules):
    return {path.stem for path in reachable(Path("scripts") / script, *modules)}


def package(tmp_path, **modules):
    for name, text in {"__init__": "", **modules}.items():
        path = tmp_path / "src/kvbench" / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "src"


def test_imports_are_followed_wherever_they_stand(tmp_path):
    src = package(
        tmp_path,
        a="def f():\n    from kvbench.sub import b",
        **{"sub.__init__": "", "sub.b": "from . import c\nfrom ..d import x", "sub.c": ""},
        d="import json, numpy",
        unrelated="",
    )
    script = tmp_path / "script.py"
    script.write_text("import kvbench.a")
    found = [path.relative_to(tmp_path).as_posix() for path in reachable(script, src=src)]
    assert found == [
        "script.py",
        "src/kvbench/__init__.py",
        "src/kvbench/a.py",
        "src/kvbench/d.py",
        "src/kvbench/sub/__init__.py",
        "src/kvbench/sub/b.py",
        "src/kvbench/sub/c.py",
    ]


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A script of one module, and the folder that it is planned in."""
    package(tmp_path, a="A = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(code_inputs, "LISTINGS", Path("listings"))
    path = tmp_path / "script.py"
    path.write_text("import kvbench.a")
    return path


def write(script):
    return write_listing(script, root=script.parent, src=script.parent / "src")


def test_a_listing_names_every_file_and_is_dated_as_the_newest(script):
    path = write(script)
    files = ["script.py", "src/kvbench/__init__.py", "src/kvbench/a.py"]
    assert listed([path]) == files and listed(["other.py"]) == ["other.py"]
    assert path.stat().st_mtime_ns == max(Path(file).stat().st_mtime_ns for file in files)


def test_a_listing_is_written_again_for_an_edit_and_for_nothing_else(script):
    path, module = write(script), Path("src/kvbench/a.py")
    before = path.stat().st_mtime_ns
    os.utime(module, (0, 0))
    assert write(script).stat().st_mtime_ns == before, "a touch is no edit"
    module.write_text("A = 2\n")
    os.utime(module, (0, 0))
    assert write(script).stat().st_mtime_ns > before, "nor is an old date none"


def test_a_lost_listing_comes_back_as_it_was(script):
    path = write(script)
    text, before = path.read_text(), path.stat().st_mtime_ns
    path.unlink()
    assert write(script).read_text() == text and path.stat().st_mtime_ns == before


def test_a_measuring_job_reaches_its_own_cache_and_no_other_version_s():
    modules = ("kvbench.bench.latency", "kvbench.caches.int8", "kvbench.models.gpt2")
    reached = names("measure.py", *modules)
    assert "pool" not in reached
    assert {"measure", "latency", "generate", "int8", "gpt2"} <= reached
    assert not reached & {
        "dense",
        "int4",
        "none",
        "bound",
        "code_inputs",
        "vram",
        "phase",
        "style",
        "tables",
    }


def test_measuring_jobs_do_not_reach_the_registries():
    for benchmark, line in BENCHMARKS.items():
        modules = ("kvbench.caches.dense", "kvbench.models.gpt2")
        reached = names("measure.py", f"kvbench.bench.{line.module or benchmark}", *modules)
        registries = {"versions", "presets", "benchmarks", "config", "config_checks", "cells"}
        assert not reached & registries


def test_a_module_that_does_not_exist_is_refused():
    with pytest.raises(FileNotFoundError, match=r"kvbench\.caches\.nothing"):
        reachable(Path("scripts/measure.py"), "kvbench.caches.nothing")


def test_light_modules_import_nothing_heavy():
    imports = "; ".join(f"import kvbench.{name}" for name in LIGHT)
    program = f"import sys; {imports}; print(*(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": "src"},
    )
    assert done.stdout.split() == []


def test_no_measuring_job_imports_the_hub_libraries():
    program = (
        "import sys; import kvbench.bench.latency, kvbench.caches.int8, kvbench.models.gpt2;"
        "print(*({'transformers', 'datasets', 'matplotlib', 'pandas'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONPATH": "src"}
    )
    assert done.stdout.split() == []
