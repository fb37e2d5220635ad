"""A timed process writes its sample, or its cell where no other is pooled with it."""

import contextlib
import random
import sys
from types import SimpleNamespace

import made
import pytest

from kvbench.analysis.pool import pool
from kvbench.job import measure
from kvbench.job.measure import numbered
from kvbench.plan import cells
from kvbench.records.provenance import stamp
from kvbench.records.store import read_record

iocontainers = pytest.importorskip("snakemake.iocontainers")


def sample():
    """What one process measured, from the record it is pooled into."""
    config = made.config(T_values=[4], replicates=1)
    cell = made.latency(config, "v1", 1, 4, random.Random(0))
    (process,) = cell["processes"]
    return {key: v for key, v in cell.items() if key != "processes"} | process


def job(tmp_path, monkeypatch, **wildcards):
    """What Snakemake hands to the script of a latency job whose benchmark takes no time."""
    config = made.config(T_values=[4], replicates=1, device="cpu")
    bench = SimpleNamespace(run=lambda cell, weights, kernels: sample())
    monkeypatch.setitem(sys.modules, "kvbench.bench.latency", bench)
    monkeypatch.setattr(measure, "logged", lambda log, code: contextlib.nullcontext())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = tmp_path / "a.py"
    code.write_text("")
    files = {"code": str(code), "weights": [], "kernels": []}
    param = cells.cell(config, "latency", "gpt2", "v1", T=4).param()
    return SimpleNamespace(
        log=["log"],
        input=iocontainers.InputFiles(fromdict=files),
        output=[str(tmp_path / "record.json")],
        params=iocontainers.Params(fromdict={"cell": param}),
        wildcards=iocontainers.Wildcards(fromdict=wildcards),
        resources=iocontainers.ResourceList(fromdict={"place": 7}),
        config=config,
    )


def test_one_of_several_processes_writes_its_sample(tmp_path, monkeypatch):
    one = job(tmp_path, monkeypatch, version="v1", replicate="2")
    measure.measure(one)
    written = read_record(one.output[0])
    assert (written["replicate"], written["place_in_line"]) == (2, 7)
    assert "processes" not in written and written["provenance"]["key"]


def test_the_only_process_writes_the_cell_that_pooling_would(tmp_path, monkeypatch):
    one = job(tmp_path, monkeypatch, version="v1")
    measure.measure(one)
    written = read_record(one.output[0])
    assert written["processes"][0]["place_in_line"] == 7
    assert written["time_total_ms_interval"]["low"] is None
    expected = pool([stamp(numbered(sample(), {}, 7), one.params.cell, one.input)])
    assert expected.items() <= written.items()
