"""A job runs in a fork of the server as it would in a process of its own, and ends with it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from kvbench.job import fork_server

JOBS = """
import os, sys, time

def says(what):
    from kvbench.job import fork_server
    facts = os.environ["SAID"], sys.argv[1], fork_server.forked(), "json" in sys.modules
    print(what, os.getcwd(), *facts)

def ends(code):
    sys.exit(code)

def fails(what):
    raise ValueError(what)

def dies(number):
    os.kill(os.getpid(), number)

def waits(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)
"""
CALL = (
    "import sys, ast, jobs; from kvbench.job import fork_server; "
    "fork_server.run(getattr(jobs, sys.argv[1]), ast.literal_eval(sys.argv[2]))"
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are made on Linux alone")


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Starts a job's process: `call(function, argument)`; its folder holds the functions."""
    (tmp_path / "jobs.py").write_text(JOBS)
    monkeypatch.setenv("SAID", "by the job")

    def begin(function, argument):
        command = [sys.executable, "-c", CALL, function, repr(argument)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=tmp_path, **pipes)

    return begin


@pytest.fixture
def server(monkeypatch):
    """One that is to import a module that is not there: forks say so, where they need it."""
    monkeypatch.setenv(fork_server.SERVER, "")  # so that it is taken away again
    with fork_server.start(preloaded=("not_installed", "json")) as process:
        yield process
        process.stdin.close()


def test_a_job_in_a_fork_has_the_folder_environment_arguments_and_output_of_its_process(
    call, server, tmp_path
):
    for what in ("one", "two"):
        said, wrong = call("says", what).communicate()
        assert said.split() == [what, str(tmp_path), "by", "the", "job", "says", "True", "True"]
        assert not wrong


def test_without_a_server_a_job_runs_where_it_is(call, monkeypatch):
    for address in (None, "kvbench-nowhere"):
        if address:
            monkeypatch.setenv(fork_server.SERVER, address)
        assert call("says", "x").communicate()[0].split()[-2] == "False"


def test_a_job_ends_with_the_status_of_its_fork(call, server):
    for function, argument, status in (("says", "x", 0), ("ends", 3, 3), ("fails", "why", 1)):
        job = call(function, argument)
        _, wrong = job.communicate()
        assert job.returncode == status
        assert ("ValueError: why" in wrong) == (function == "fails")
    _, wrong = call("ends", "a reason").communicate()  # as the interpreter says it
    assert wrong.strip() == "a reason"
    job = call("dies", int(signal.SIGKILL))  # as the kernel does where memory runs out
    _, wrong = job.communicate()
    assert job.returncode == 137 and "was killed" in wrong


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_that_is_killed_takes_its_fork_with_it(call, server, tmp_path, how):
    pid = tmp_path / "pid"
    with call("waits", str(pid)) as job:
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.01)
        fork = int(pid.read_text())
        assert fork != job.pid
        job.send_signal(how)
    while os.path.exists(f"/proc/{fork}"):  # the test's time limit is the suite's
        time.sleep(0.01)


def test_a_server_ends_with_the_process_that_started_it(tmp_path):
    started = "from kvbench.job import fork_server; print(fork_server.start(()).pid)"
    said = subprocess.run([sys.executable, "-c", started], capture_output=True, text=True)
    while os.path.exists(f"/proc/{int(said.stdout)}/exe"):
        time.sleep(0.01)
