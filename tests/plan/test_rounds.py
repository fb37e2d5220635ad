"""Rounds are added until verdicts are narrow enough, time is over, or a study has the most."""

import json

import pytest

from kvbench.cli import rounds as command
from kvbench.plan import rounds
from kvbench.plan.config import ConfigError, load_schema, resolve
from kvbench.records.store import write_record

SCHEMA = load_schema()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(rounds.ADD, raising=False)
    return tmp_path


def study(pretrained="gpt2", **stopping):
    return resolve({"study": "mine", "pretrained": pretrained, "stopping": stopping}, SCHEMA)


def verdicts(preset="gpt2", measured=5, widest=0.1, minutes=2.0):
    found = {"measured": measured, "widest": widest, "minutes": minutes}
    write_record(f"results/mine/verdicts/{preset}.json", {"rounds": found})


def test_a_study_without_the_keys_measures_what_it_says_and_looks_at_nothing():
    verdicts(measured=7)
    assert rounds.decided(study(), main=True) == (3, "")
    assert not rounds.DECIDED.exists()


def test_a_round_is_added_until_every_interval_is_narrow_enough():
    config = study(half_width=0.02)
    assert rounds.decide(config) == (3, "")  # nothing measured yet
    verdicts(measured=3, widest=0.001)
    assert rounds.decide(config) == (4, "gpt2: 3 rounds of at least 5")
    verdicts(measured=6, widest=0.05)
    assert rounds.decide(config) == (7, "gpt2: the widest interval is 5 %, not 2 %")
    verdicts(measured=7, widest=None)
    assert rounds.decide(config)[0] == 8
    verdicts(measured=8, widest=0.019)
    assert rounds.decide(config) == (8, "")


def test_time_and_the_most_end_it():
    verdicts(measured=6, widest=0.5, minutes=2.0)
    assert rounds.decide(study(minutes=14))[0] == 7
    assert rounds.decide(study(minutes=13)) == (6, "")
    assert rounds.decide(study(half_width=0.01, minutes=13)) == (6, "")
    assert rounds.decide(study(half_width=0.01, most=6)) == (6, "")


def test_presets_share_their_rounds():
    config = study(pretrained=["gpt2", "nano"], half_width=0.02)
    verdicts("gpt2", measured=7, widest=0.01)
    verdicts("nano", measured=5, widest=0.5)
    assert rounds.decide(config) == (7, "nano: the widest interval is 50 %, not 2 %")
    verdicts("nano", measured=7, widest=0.5)
    assert rounds.decide(config)[0] == 8


def test_only_the_command_for_rounds_adds_one(monkeypatch):
    """Snakemake by itself finds nothing to do where all that was measured is made."""
    verdicts(measured=5, widest=0.5)
    assert rounds.decided(study(half_width=0.02), main=True) == (5, "")
    monkeypatch.setenv(rounds.ADD, "1")
    assert rounds.decided(study(half_width=0.02), main=True)[0] == 6


def test_without_it_no_round_is_lost_that_was_measured_or_is_asked_for():
    config = study(pretrained=["gpt2", "nano"], half_width=0.02)
    verdicts("gpt2", measured=7, widest=0.01)
    verdicts("nano", measured=5, widest=0.5)
    assert rounds.decided(config, main=True) == (7, "")
    assert rounds.decided(config | {"replicates": 9}, main=True) == (9, "")


def test_a_job_reads_what_the_run_has_decided(monkeypatch):
    config = study(half_width=0.02)
    verdicts(measured=5)
    monkeypatch.setenv(rounds.ADD, "1")
    assert rounds.decided(config, main=True)[0] == 6
    verdicts(measured=6)  # meanwhile
    assert rounds.decided(config, main=False)[0] == 6


def test_damaged_verdicts_are_refused_by_name(folder):
    verdicts()
    (folder / "results/mine/verdicts/gpt2.json").write_text("{")
    with pytest.raises(ConfigError, match=r"verdicts/gpt2\.json is not a whole record"):
        rounds.decide(study(half_width=0.02))


@pytest.mark.parametrize(
    "given, allowed",
    [
        ({"half_width": 0}, "numbers above 0 below 1"),
        ({"minutes": -1}, "numbers above 0 to 1000000"),
        ({"most": 1.5}, "whole numbers from 1 to 1000"),
    ],
)
def test_what_is_allowed_is_said(given, allowed):
    with pytest.raises(ConfigError, match=allowed):
        study(**given)


class Runs:
    """Stands in for Snakemake: each run leaves what it decided."""

    def __init__(self, *decisions, status=0):
        self.decisions, self.status, self.asked = list(decisions), status, []

    def __call__(self, words, env):
        assert rounds.ADD in env
        self.asked.append(words[3:])
        if self.decisions:
            rounds.DECIDED.parent.mkdir(exist_ok=True)
            rounds.DECIDED.write_text(json.dumps(self.decisions.pop(0)))
        return type("Done", (), {"returncode": self.status})


def test_the_command_runs_until_no_round_is_added(monkeypatch):
    runs = Runs([4, "wide"], [5, "wide"], [5, ""])
    monkeypatch.setattr(command.subprocess, "run", runs)
    assert command.main(["--cores", "1", "all"]) == 0
    assert runs.asked == [["--cores", "1", "all"]] * 3


def test_a_run_that_decided_enough_is_the_last(monkeypatch):
    """Snakemake is not asked once more only to say that there is nothing to do."""
    runs = Runs([3, ""], [4, "never asked"])
    monkeypatch.setattr(command.subprocess, "run", runs)
    assert command.main(["all"]) == 0 and len(runs.asked) == 1


def test_at_its_end_a_run_looks_ahead_where_it_may_add_rounds(monkeypatch):
    verdicts(measured=5, widest=0.5)
    rounds.look_ahead(study(half_width=0.02))
    assert not rounds.DECIDED.exists()
    monkeypatch.setenv(rounds.ADD, "1")
    rounds.decided(study(half_width=0.02), main=True)
    verdicts(measured=6, widest=0.5)  # what the run has made of it
    rounds.look_ahead(study(half_width=0.02))
    assert json.loads(rounds.DECIDED.read_text())[0] == 7
    verdicts(measured=7, widest=0.01)
    rounds.look_ahead(study(half_width=0.02))
    assert json.loads(rounds.DECIDED.read_text())[1] == ""


def test_the_command_ends_where_a_run_fails_adds_nothing_or_has_no_rule(monkeypatch):
    for runs, status in (
        (Runs([3, ""], status=1), 1),
        (Runs([4, "wide"], [4, "wide"]), 0),  # a target that judges nothing
        (Runs(), 0),
    ):
        monkeypatch.setattr(command.subprocess, "run", runs)
        assert command.main(["all"]) == status and not runs.decisions
