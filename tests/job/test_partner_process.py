"""A process that measures a sample's partner: it fails alone, and ends with its job."""

import os
import subprocess
import sys
import time

import pytest
from project import ROOT

from kvbench.job import partners

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "src")}
PROGRAM = "[sys.executable, '-m', 'kvbench.job.partners', 'asked']"
JOB = f"import subprocess, sys; subprocess.run({PROGRAM})"


def test_a_request_that_fails_is_reported_and_spares_the_sample(monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    request = {"cell": {"version": "v1", "benchmark": "nothing"}, "inputs": {}}
    assert partners.measure([request]) == []
    assert "partner v1 was not measured: failed (see log)" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own signal, on Linux alone")
def test_it_ends_with_the_job_that_was_killed(tmp_path):
    os.mkfifo(tmp_path / "asked")  # reading the request waits for as long as nothing is written
    with (
        subprocess.Popen([sys.executable, "-c", JOB], cwd=tmp_path, env=ENVIRONMENT) as job,
        open(tmp_path / "asked", "wb", buffering=0) as asked,  # open once the other end is
    ):
        job.kill()
        until = time.monotonic() + 30
        with pytest.raises(BrokenPipeError):
            while time.monotonic() < until:
                asked.write(b" ")
                time.sleep(0.05)
