"""Commands of Python modules, each in a fork of a process that has imported Snakemake.

A test waits for what the command does, not for the second that its imports take. The server is the
project's own, of `kvbench.job.fork_server`; each fork takes `kvbench` from its own folder.
"""

import atexit
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache, partial, partialmethod
from pathlib import Path

from kvbench.job import fork_server

SUPPORT = str(Path(__file__).parent)
IMPORTED = ("imported", "smart_open", "requests", "jsonschema", "msgspec", "typer")
IMPORTED += ("pandas", "scipy.stats", "torch")  # of commands that show, compare and check
IMPORTED += ("matplotlib.pyplot", "altair")  # of scripts that draw
OWN_PROCESS = (".measure.py", ".measure_roofs.py", ".build_kernels.py", ".profile_phase.py")


def python(module, *words, folder, env, scripts=True, timeout=600):
    """`python -m module words` in a folder and environment; a completed process with its output.

    `scripts`: scripts that Snakemake starts are forks too, but for those that measure.
    """
    server = _server()
    if server is None:
        command = [sys.executable, "-m", module, *words]
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    job = module, [module, *words], [str(folder)], scripts
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = _fork(job, folder, env, [out.fileno(), err.fileno()], timeout)
        said = [file.seek(0) or file.read().decode() for file in (out, err)]
    assert code is not None, f"{module} was killed: {said}"
    return subprocess.CompletedProcess(words, code, *said)


def _fork(job, folder, env, outputs, timeout=None):
    """The exit status of a fork that does a job; None where it was killed."""
    what, argv, own, scripts = job
    own += filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    request = fork_server.request(main, (what, argv, own, scripts, _server(), _path()))
    request |= {"environ": env, "folder": str(folder), "path": [SUPPORT, *sys.path]}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect("\0" + _server())
        fork_server.send(connection, request, outputs)
        status = connection.recv(4)
    return int.from_bytes(status, "little") if status else None


def main(job):
    """In the fork: what `python -m` does, or `python` with a script."""
    what, sys.argv[:], own, scripts, server, path = job
    globals().update(_server=lambda: server, _path=lambda: path)
    sys.path[:] = own + path
    tempfile.tempdir = None  # the server's own: what Snakemake gives its jobs holds their locks
    subprocess.run = partial(_run, subprocess.run)  # as the command line calls Snakemake
    if scripts:
        from snakemake.script import PythonScript

        PythonScript._execute_cmd = partialmethod(_script, PythonScript._execute_cmd)
    for name in [name for name in sys.modules if name.partition(".")[0] == "kvbench"]:
        del sys.modules[name]
    try:
        if what.endswith(".py"):
            runpy.run_path(what, run_name="__main__")
        else:
            runpy.run_module(what, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # a fork ends without


def _run(really, command, **how):
    """`subprocess.run`, of a module of Python's in a fork too."""
    if list(command[:3]) != [sys.executable, "-m", "snakemake"]:
        return really(command, **how)
    done = python(*command[2:], folder=os.getcwd(), env=dict(os.environ))
    if "capture_output" not in how:
        print(done.stdout, end="", flush=True)
        print(done.stderr, end="", file=sys.stderr, flush=True)
    return done


def _script(self, really, command, fname, **how):
    """A script's process, of Snakemake: a fork, unless it measures or has an environment."""
    if self.conda_env or self.container_img or fname.endswith(OWN_PROCESS):
        return really(self, command, fname=fname, **how)
    env = dict(os.environ) | {"TMPDIR": self.resources.tmpdir, "OMP_NUM_THREADS": str(self.threads)}
    sys.stdout.flush()
    sys.stderr.flush()
    code = _fork((fname, [fname], [os.path.dirname(fname)], False), os.getcwd(), env, [1, 2])
    if code != 0:
        raise subprocess.CalledProcessError(-signal.SIGKILL if code is None else code, fname)


@cache
def _server():
    """The address of this process's server, which ends with it."""
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join(  # for `imported`
        [SUPPORT, *filter(None, [before.get("PYTHONPATH")])]
    )
    started = fork_server.start(IMPORTED)
    address = os.environ.get(fork_server.SERVER)
    os.environ.clear()
    os.environ.update(before)
    if started is not None:
        atexit.register(_stop, started)
    return address


def _stop(server):
    server.communicate()  # it ends where its input does


@cache
def _path():
    """Where a fresh interpreter looks for modules."""
    command = [sys.executable, "-P", "-c", "import json, sys; print(json.dumps(sys.path))"]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return json.loads(subprocess.run(command, env=env, capture_output=True, check=True).stdout)
