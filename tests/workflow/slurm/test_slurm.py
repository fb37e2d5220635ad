"""A real one-node Slurm: a node or a GPU to oneself, and what schedulers do to jobs.

The study is the toy of the drills; a file `hold` in its folder keeps its measuring jobs at work.
"""

import os
import subprocess
import time
from pathlib import Path

import pytest
from project import Running, toy

from kvbench.records.store import read_record

pytestmark = pytest.mark.slurm
CLUSTER = Path(__file__).parent / "cluster.sh"
STUDY = ("--configfile", "config/toy.yaml", "--config")
CELL = "results/toy/vram/custom/v1/B1/T{}.json"


def sh(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([CLUSTER, "start", folder], check=True)
    yield lambda act, *more: subprocess.run([CLUSTER, act, folder, *more], check=True)
    subprocess.run([CLUSTER, "stop", folder], check=True)


class Study:
    """A toy study on the cluster."""

    def __init__(self, folder, monkeypatch):
        self.folder = toy(folder)
        self.monkeypatch = monkeypatch

    def run(self, *lengths, device="cuda", name="said"):
        """Snakemake over the cluster; ended by Ctrl-C should the test fail."""
        cells = [CELL.format(T) for T in lengths]
        settings = (*STUDY, f"device={device}")
        return Running(self.folder, *cells, *settings, name=name, profile="profiles/slurm")

    def records(self):
        return [read_record(path) for path in self.folder.glob("results/toy/vram/**/*.json")]

    def hold(self):
        (self.folder / "hold").touch()

    def release(self):
        (self.folder / "hold").unlink()


@pytest.fixture
def study(cluster, tmp_path, monkeypatch):
    yield Study(tmp_path, monkeypatch)
    subprocess.run(["scancel", "--user", "root"], check=True)
    until(lambda: not jobs())


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, sh("squeue")
        time.sleep(0.3)
    return found


def jobs(state=""):
    """Ids of the jobs in a state (default: any that is not over)."""
    states = ["--states", state] if state else []
    return sh("squeue", "--noheader", "--format", "%A", *states).split()


def overlaps(records):
    """Pairs of cells that were measured at the same time."""
    return [
        (a, b)
        for i, a in enumerate(records)
        for b in records[:i]
        if a["began"] < b["ended"] and b["began"] < a["ended"]
    ]


def test_a_gpu_is_one_cell_s_at_a_time_and_every_gpu_is_used(study):
    with study.run(1, 2, 3, 4) as run:
        assert run.end() == 0, run.said.read_text()
    records = study.records()
    assert len(records) == 4 and {record["device"] for record in records} == {"0", "1"}
    assert all(a["device"] != b["device"] for a, b in overlaps(records))


def test_a_cell_timed_on_the_cpu_has_the_node_to_itself(study):
    with study.run(1, 2, device="cpu") as run:
        assert run.end() == 0, run.said.read_text()
    assert len(study.records()) == 2 and not overlaps(study.records())


def test_a_job_killed_by_the_scheduler_is_reported_and_made_by_the_next_run(study):
    study.hold()
    with study.run(1) as run:
        (job,) = until(lambda: jobs("RUNNING"))
        sh("scancel", "--signal=KILL", "--full", job)
        assert run.end() == 1
    assert f"SLURM-job '{job}' failed" in run.said.read_text() and not study.records()
    study.release()
    with study.run(1, name="again") as run:
        assert run.end() == 0, run.said.read_text()
    assert [record["T"] for record in study.records()] == [1]


def test_a_drained_node_delays_cells_and_loses_none(study):
    node = os.uname().nodename.split(".")[0]
    sh("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    with study.run(1) as run:
        until(lambda: jobs("PENDING"))
        assert not study.records()
        sh("scontrol", "update", f"nodename={node}", "state=resume")
        assert run.end() == 0, run.said.read_text()
    assert [record["T"] for record in study.records()] == [1]


def test_a_restarted_controller_is_waited_for(study, cluster):
    study.hold()
    with study.run(1) as run:
        until(lambda: jobs("RUNNING"))
        cluster("restart", "5")
        study.release()
        assert run.end() == 0, run.said.read_text()
    assert [record["T"] for record in study.records()] == [1]


def test_a_preempted_cell_is_measured_again_from_the_start(study):
    study.hold()
    with study.run(1, device="cpu") as run:
        (job,) = until(lambda: jobs("RUNNING"))
        began = time.monotonic()
        sh("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 3")
        until(lambda: job in jobs("PENDING"))
        sh("scontrol", "update", f"jobid={job}", "starttime=now")
        study.release()
        assert run.end() == 0, run.said.read_text()
    (record,) = study.records()
    assert record["began"] > began, "what was measured is the second attempt"
