"""A run says little, and what matters: a line a job, a failure's last lines, the answers."""

import re
from types import SimpleNamespace

import pytest
from project import copy, snakemake

from kvbench.job.terminal import Brief

STUDY = """
pretrained: null
model_config: {n_layer: 2, n_head: 2, n_embd: 32, block_size: 64, vocab_size: 128}
benchmarks: [latency, vram]
kernel: torch
versions: [dense, int8]
T_values: [4]
energy_s: 0
replicates: 2
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = copy(tmp_path_factory.mktemp("terminal"))
    (folder / "config/own.yaml").write_text(STUDY)
    return folder


def test_a_plan_of_the_default_study_fits_on_a_screen(project):
    lines = snakemake(project, "--dry-run", brief=True).splitlines()
    assert len(lines) < 40 and max(map(len, lines)) < 1000
    assert re.search(r"^\d+ jobs to run, \d+ of them measure:$", "\n".join(lines), re.M)
    assert any("measure_latency" in line for line in lines)


def test_a_run_ends_with_its_answers_and_where_they_lie(project):
    said = snakemake(project, "all", "--configfile", "config/own.yaml", brief=True)
    lines = said.splitlines()
    assert len(lines) < 60, said
    assert any(line.startswith("speed of custom: batch 1, T 4") for line in lines)
    assert any("int8 keeps" in line and "times smaller" in line for line in lines)
    assert any(line.endswith("results/own/results.jsonl") for line in lines)
    assert "Select jobs" not in said and "Finished jobid" not in said
    again = snakemake(project, "all", "--configfile", "config/own.yaml", brief=True)
    assert "Nothing to be done" in again and "speed of" not in again


def test_a_failed_job_shows_how_its_log_ends(project):
    broken = project / "src/kvbench/bench/phase.py"
    broken.write_text(broken.read_text() + "\nraise RuntimeError('broken on purpose')\n")
    target = "results/own/phase/custom/v1/B1/T8.json"
    said = snakemake(project, target, "--configfile", "config/own.yaml", check=False, brief=True)
    assert f"Error in rule measure_phase: {target} was not made" in said
    assert "    RuntimeError: broken on purpose" in said


def test_options_of_snakemake_s_own_leave_its_terminal_as_it_is(project):
    target = "results/own/vram/custom/v1/B1/T4.json"
    for option in (["--quiet", "host"], ["--printshellcmds"]):
        said = snakemake(
            project, "--dry-run", "--forceall", target, *option, "--configfile",
            "config/own.yaml", brief=True,
        )  # fmt: skip
        assert f"output: {target}" in said


def record(event=None, level=20, msg="", **more):
    kind = SimpleNamespace(value=event) if event else None
    return SimpleNamespace(event=kind, levelno=level, msg=msg, **more)


def test_only_what_takes_a_second_gets_a_line(monkeypatch):
    brief, now = Brief(None, None, False), [0.0]
    monkeypatch.setattr("kvbench.job.terminal.time.monotonic", lambda: now[0])
    said = []
    for job, seconds in ((1, 0.2), (2, 61.4)):
        about = {"jobid": job, "output": [f"made{job}"], "rule_name": "one"}
        assert brief.lines(record("job_info", **about)) == []
        now[0] += seconds
        assert brief.lines(record("job_finished", job_id=job)) == []
        said += brief.lines(record("progress", done=job, total=10))
    assert said == ["[ 2/10] made2  61 s"]


def test_what_it_does_not_know_is_snakemake_s_to_say():
    brief = Brief(None, None, False)
    assert brief.lines(record(msg="Select jobs to execute...")) == []
    assert brief.lines(record(msg="Something new")) is None
    assert brief.lines(record(level=30, msg="Execute with care")) is None
    assert brief.lines(record("group_error", level=40, msg="x")) is None
    ended = "RuleException:\nCalledProcessError in file \"x\", line 1:\nCommand 'y' {}"
    exited = ended.format("returned non-zero exit status 1.")
    assert brief.lines(record(level=40, msg=exited)) == []
    killed = ended.format("died with <Signals.SIGKILL: 9>.")
    assert brief.lines(record(level=40, msg=killed)) is None
    stats = {"measure_vram": 2, "all": 1, "total": 3}
    assert brief.lines(record("run_info", stats=stats))[0] == "3 jobs to run, 2 of them measure:"
    assert brief.lines(record("run_info", stats=stats)) == []
