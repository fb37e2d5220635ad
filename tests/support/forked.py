"""Commands of Python modules, each in a fork of a process that has imported Snakemake.

A test waits for what the command does, not for the second that its imports take. The server is the
project's own, of `kvbench.job.fork_server`; each fork takes `kvbench` from its own folder.
"""

import atexit
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from functools import cache, partial
from pathlib import Path

from kvbench.job import fork_server

SUPPORT = str(Path(__file__).parent)
IMPORTED = ("imported", "smart_open", "requests", "jsonschema", "msgspec", "typer")
IMPORTED += ("pandas", "scipy.stats", "torch")  # of commands that show, compare and check


def python(module, *words, folder, env, timeout=600):
    """`python -m module words` in a folder and environment; a completed process with its output."""
    server = _server()
    if server is None:
        command = [sys.executable, "-m", module, *words]
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    own = [str(folder), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    request = fork_server.request(main, (module, [module, *words], own + _path(), server))
    request |= {"environ": env, "folder": str(folder), "path": [SUPPORT, *sys.path]}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect("\0" + server)
            fork_server.send(connection, request, [out.fileno(), err.fileno()])
            status = connection.recv(4)
        said = [file.seek(0) or file.read().decode() for file in (out, err)]
    assert status, f"{module} was killed: {said}"
    return subprocess.CompletedProcess(words, int.from_bytes(status, "little"), *said)


def main(job):
    """In the fork: what `python -m` does."""
    module, sys.argv[:], sys.path[:], server = job
    globals()["_server"] = lambda: server
    subprocess.run = partial(_run, subprocess.run)  # as the command line calls Snakemake
    for name in [name for name in sys.modules if name.partition(".")[0] == "kvbench"]:
        del sys.modules[name]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
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
