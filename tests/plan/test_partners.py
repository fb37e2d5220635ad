"""What a run measures with its samples: what they are compared with and it leaves as it is."""

import json

import pytest

from kvbench.job import partners as job
from kvbench.plan import partners

VERSIONS = ["v0", "v1", "v2", "v3"]


def path_of(benchmark, where):
    return f"{benchmark}/{where['version']}/r{where['replicate']}.json"


def sample(version, replicate="1", benchmark="latency"):
    where = {"version": version, "replicate": replicate}
    return benchmark, where, path_of(benchmark, where)


@pytest.fixture(autouse=True)
def made(tmp_path, monkeypatch):
    """A study with one round of its versions."""
    monkeypatch.chdir(tmp_path)
    for version in VERSIONS:
        for benchmark in ("latency", "phase"):
            path = tmp_path / benchmark / version / "r1.json"
            path.parent.mkdir(parents=True)
            path.touch()


def asked(*planned):
    found = partners.left_alone(planned, VERSIONS, path_of)
    return {
        output: [(where["version"], where["replicate"]) for _, where in samples]
        for output, samples in found.items()
    }


def test_an_edited_version_has_its_baseline_as_partner():
    assert asked(sample("v2")) == {"latency/v2/r1.json": [("v1", "1")]}


def test_an_edited_baseline_has_all_that_is_compared_with_it():
    assert asked(sample("v1")) == {"latency/v1/r1.json": [("v0", "1"), ("v2", "1"), ("v3", "1")]}


def test_what_the_run_measures_itself_or_what_is_not_there_yet_is_not_asked_for():
    assert asked(*map(sample, VERSIONS)) == {}
    assert asked(sample("v2", "2"), sample("v1", "2")) == {}
    assert asked(sample("v2", "2")) == {}  # no v1 of that round: nothing to compare with


def test_cells_of_which_no_ratio_is_made_stand_alone():
    assert asked(sample("v2", benchmark="phase")) == {}


def test_a_run_forgets_what_an_earlier_one_asked_for():
    def request(benchmark, where):
        return {"cell": {"version": where["version"]}, "inputs": {}}

    partners.ask([sample("v2")], VERSIONS, path_of, request)
    assert job.asked("latency/v2/r1.json") == [{"cell": {"version": "v1"}, "inputs": {}}]
    partners.ask([sample("v3")], VERSIONS, path_of, request)
    assert job.asked("latency/v2/r1.json") == []
    assert json.loads((job.REQUESTS / "latency/v3/r1.json").read_text())
