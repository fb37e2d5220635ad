"""What a script reaches is found without running it."""

import subprocess
import sys
from pathlib import Path

import pytest

from kvbench.codedeps import reachable

LIGHT = ["versions", "presets", "config", "checks", "cells", "costs", "layermaps"]
LIGHT += ["store", "records", "codedeps", "job", "ncu", "provenance", "reconcile", "schema"]
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


def test_a_measuring_job_reaches_its_own_cache_and_no_other():
    reached = names("measure_latency.py", "kvbench.caches.int8", "kvbench.models.gpt2")
    assert {"measure_latency", "latency", "generate", "int8", "gpt2"} <= reached
    assert not reached & {"dense", "none", "vram", "phase", "style", "tables"}


def test_measuring_jobs_do_not_reach_the_registries():
    for script in (
        "measure_latency.py",
        "measure_vram.py",
        "measure_phase.py",
        "measure_roofline.py",
    ):
        reached = names(script, "kvbench.caches.dense", "kvbench.models.gpt2")
        assert not reached & {"versions", "presets", "config", "checks", "cells"}


def test_a_module_that_does_not_exist_is_refused():
    with pytest.raises(FileNotFoundError, match=r"kvbench\.caches\.nothing"):
        reachable(Path("scripts/measure_latency.py"), "kvbench.caches.nothing")


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
