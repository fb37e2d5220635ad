"""Targets of the workflow: what a cell costs beside its measurement, and what planning costs.

Snakemake runs on a copy of the project's sources, so that no study is disturbed.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kvbench.files.placeholder import NotMeasuredError
from kvbench.plan import cells
from kvbench.plan.code_inputs import reachable
from kvbench.plan.config import load_schema, resolve
from kvbench.records.provenance import digest_files
from kvbench.records.store import read_record
from kvbench.versions import cache_module
from perf.copied import ROOT, copy

MARKS = ("SNAKEMAKE", "KVBENCH_")  # of whoever runs this

# The real script, given what Snakemake would give it, after the imports Snakemake puts before it.
JOB = """
import json, runpy, sys
from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params
from snakemake.iocontainers import ResourceList, Snakemake, Wildcards
from snakemake.logging import logger
given = json.load(sys.stdin)
kinds = dict(input_=InputFiles, params=Params, wildcards=Wildcards, resources=ResourceList)
named = {key: kind(fromdict=given[key]) for key, kind in kinds.items()}
rest = dict(output=OutputFiles([given["output"]]), log=Log([given["log"]]), config=given["config"])
job = Snakemake(**named, **rest, threads=1, rulename="measure_latency", bench_iteration=None)
runpy.run_path(given["script"], {"snakemake": job})
"""


def cell(settings: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a latency job's process, less those of the generations that it timed."""
    study = {"dtype": settings["dtype"], "device": "cpu", "benchmarks": ["latency"]}
    if "shape" in settings:
        study |= {"pretrained": None, "model_config": settings["shape"]}
    config = resolve(study, load_schema())
    preset = settings["preset"]
    one = cells.cell(config, "latency", preset, "v1", T=2)
    one = one.replace(num_warmup_runs=0, num_measure_runs=1, yardstick=False, energy_s=0.0)
    script = ROOT / "scripts/measure.py"
    loaded = (
        "kvbench.bench.latency",
        "kvbench.kernels.cpu.library",
        "kvbench.engine.native_step",
        f"kvbench.caches.{cache_module(one.version)}",
        f"kvbench.models.{one.model_config['arch']}",
    )
    weights, library = settings["weights"], settings["library"]
    for path in (weights, library):
        if not Path(path).exists():
            raise NotMeasuredError(f"{path} is not there: make bench makes it first")
    with tempfile.TemporaryDirectory(prefix="kvbench-cell-") as folder:
        listing = Path(folder) / "code.sha256"
        listing.write_text(
            "".join(f"{digest_files([f])}  {f}\n" for f in reachable(script, *loaded))
        )
        job = {
            "script": str(script),
            "input_": {"code": str(listing), "weights": weights, "kernels": library},
            "params": {"cell": one.param()},
            "wildcards": {"replicate": "1"},
            "resources": {"place": 1},
            "output": f"{folder}/r1.json",
            "log": f"{folder}/r1.log",
            "config": config,
        }
        began = time.perf_counter()
        _run([sys.executable, "-c", JOB], input=json.dumps(job))
        whole = time.perf_counter() - began
        record = read_record(f"{folder}/r1.json")
    timed = sum(run["time_total_ms"] for run in record["runs"]) / 1e3
    ran = {key: record[key] for key in ("execution", "kernel")}
    return {"values": [whole - timed], "ran": ran}


def plan(settings: dict[str, Any]) -> dict[str, Any]:
    """Seconds and peak memory of a dry run of so many latency cells, each of one process."""
    versions = ["v0", "v1", "v2", "v3", "v4"]
    lengths = list(range(1, max(1, settings["cells"] // len(versions)) + 1))
    study = {"versions": versions, "T_values": lengths, "T_star": 1, "replicates": 1}
    study |= {"benchmarks": ["latency"], "perplexity": {"presets": []}}
    with copied() as folder:
        (folder / "config/many.yaml").write_text(json.dumps(study))  # JSON is YAML
        said, seconds = _snakemake(folder, "--dry-run", "all", "--configfile", "config/many.yaml")
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    found = re.search(r"(?s)^(\d+) jobs to run.*measure_latency +(\d+)", said, re.M)
    if found is None:
        raise RuntimeError(f"a plan without its counts:\n{said}")
    jobs = dict(zip(("jobs", "cells"), map(int, found.groups()), strict=True))
    return {"values": [seconds], "ran": {"peak_mib": peak_mib, **jobs}}


def nothing(settings: dict[str, Any]) -> dict[str, Any]:
    """Seconds of `snakemake all` where every output of the default study is there."""
    with copied() as folder:
        said, _ = _snakemake(folder, "--dry-run", "--printshellcmds", "all")  # as Snakemake says it
        for line in re.findall(r"^    output: (.*)$", said, re.M):
            for path in line.split(", "):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                empty = path.endswith(".jsonl")  # else it holds no records, and is refused
                (folder / path).write_text("" if empty else "made\n")
        _snakemake(folder, "--touch", "--forceall", "all")
        said, seconds = _snakemake(folder, "all")
    if "Nothing to be done" not in said:
        raise RuntimeError(f"there was something to do:\n{said}")
    return {"values": [seconds]}


@contextmanager
def copied() -> Iterator[Path]:
    """A folder with the project's sources in which nothing has been made."""
    with tempfile.TemporaryDirectory(prefix="kvbench-speed-") as name:
        yield copy(Path(name))


def _snakemake(folder: Path, *arguments: str) -> tuple[str, float]:
    """What Snakemake said there, and its seconds."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    began = time.perf_counter()
    said = _run(command, cwd=folder)
    return said, time.perf_counter() - began


def _run(command: list[str], **options: Any) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(MARKS)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ...: {(done.stdout + done.stderr).strip()}")
    return done.stdout + done.stderr
