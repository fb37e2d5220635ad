"""A timed process writes its sample, or its cell where no other is pooled with it."""

import random

import made
import pytest

from kvbench.analysis.pool import pool
from kvbench.job.timed import numbered, write_timed
from kvbench.records.store import read_record

Wildcards = pytest.importorskip("snakemake.iocontainers").Wildcards


def sample():
    """What one process measured, from the record it is pooled into."""
    config = made.config(T_values=[4], replicates=1)
    cell = made.latency(config, "v1", 1, 4, random.Random(0))
    (process,) = cell["processes"]
    return {key: v for key, v in cell.items() if key != "processes"} | process


def test_one_of_several_processes_writes_its_sample(tmp_path):
    wildcards = Wildcards(fromdict={"version": "v1", "replicate": "2"})
    record = numbered(sample(), wildcards, place=7)
    write_timed(tmp_path / "r2.json", record, wildcards)
    written = read_record(tmp_path / "r2.json")
    assert (written["replicate"], written["place_in_line"]) == (2, 7)
    assert "processes" not in written


def test_the_only_process_writes_the_cell_that_pooling_would(tmp_path):
    wildcards = Wildcards(fromdict={"version": "v1"})
    record = numbered(sample(), wildcards, place=7)
    write_timed(tmp_path / "T4.json", record, wildcards)
    written = read_record(tmp_path / "T4.json")
    assert written["processes"][0]["place_in_line"] == 7
    assert written == pool([record])
    assert written["time_total_ms_interval"]["low"] is None
