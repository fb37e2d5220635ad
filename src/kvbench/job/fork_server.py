"""Measuring processes forked from one that has imported torch, instead of importing it each time.

A measurement wants a process of its own: its own heap, page tables and state of the libraries. The
import of torch, a second and more, is not part of that. A server imports it once in a run of the
workflow and runs nothing else; each job is a fork of it, and the server's heap is never written to.
Standard library only, until the server imports what jobs need.

A job waits for its fork, which has the job's environment, folder, output and signals: it ends with
the fork's exit status, and a job that is killed takes its fork with it. On Linux alone, and not for
jobs on CUDA: elsewhere a fork may not use all libraries.
"""

from __future__ import annotations

import array
import ctypes
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

SERVER = "KVBENCH_FORK_SERVER"  # the server's address, in the environment of jobs
PRELOADED = ("snakemake.script", "numpy", "torch")
PR_SET_PDEATHSIG = 1  # linux/prctl.h
_forked = False
GRACE_S = 5.0  # for a fork whose job is gone, between SIGTERM and SIGKILL


def start(preloaded: Sequence[str] = PRELOADED) -> subprocess.Popen[bytes] | None:
    """A server for the jobs started from here on, while this process lives; None if not Linux."""
    if sys.platform != "linux":
        return None
    address = f"kvbench-{os.getpid()}-{os.urandom(8).hex()}"
    program = f"import sys; from {__name__} import serve; serve(sys.argv[1], sys.argv[2:])"
    command = [sys.executable, "-c", program, address, *preloaded]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout is not None
    server.stdout.readline()  # it listens
    os.environ[SERVER] = address
    return server


def run(function: Callable[[Any], None], job: Any) -> None:
    """`function(job)` in a fork of the server, and the end of this process; here without a server.

    `function` is of a module's top level; `job` can be pickled.
    """
    connection = _connect()
    if connection is None:
        return function(job)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the fork is interrupted, and says so
    with connection:
        send(connection, request(function, job), [1, 2])
        status = connection.recv(4)
    if not status:
        print("the process that measured was killed", file=sys.stderr)
        os._exit(128 + signal.SIGKILL)
    sys.stdout.flush()
    os._exit(int.from_bytes(status, "little"))


def die_with_parent() -> None:
    """Have this process killed when the one that started it ends, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def forked() -> bool:
    """Whether this process is a fork of a server."""
    return _forked


def _connect() -> socket.socket | None:
    """A connection to the server; None where there is none, or not of this interpreter."""
    if SERVER not in os.environ:
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect("\0" + os.environ[SERVER])
    except OSError:
        connection.close()
        return None
    return connection


def request(function: Callable[[Any], None], job: Any) -> dict[str, Any]:
    """What a server is asked for: `function(job)` in this process's environment and folder."""
    return {
        "function": (function.__module__, function.__name__),
        "job": pickle.dumps(job),
        "environ": dict(os.environ),
        "folder": os.getcwd(),
        "path": sys.path,
        "argv": sys.argv,
    }


def send(connection: socket.socket, asked: dict[str, Any], outputs: Sequence[int]) -> None:
    """Ask a server, with the descriptors of standard output and standard error."""
    body = pickle.dumps(asked)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", outputs))]
    connection.sendmsg([len(body).to_bytes(8, "little")], ancillary)
    connection.sendall(body)


def serve(address: str, preloaded: Sequence[str]) -> None:
    """A fork for every connection, until standard input ends; the first waits for the imports."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0" + address)
    listener.listen()
    print(flush=True)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are waited for by nobody
    while True:
        waiting: list[Any] = [0, listener]
        if 0 in select.select(waiting, [], [])[0]:
            return
        connection, _ = listener.accept()
        for module in preloaded:
            with suppress(ImportError):  # the fork that needs it says so
                import_module(module)
        if os.fork() == 0:
            listener.close()
            _keep(connection)
        connection.close()


def _keep(connection: socket.socket) -> None:
    """In a process of its own: fork the job, wait for its end, tell its status; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    header, outputs, _, _ = socket.recv_fds(connection, 8, 2)
    body = b""
    while len(body) < int.from_bytes(header, "little"):
        part = connection.recv(1 << 20)
        if not part:
            os._exit(1)
        body += part
    keeper, child = os.getpid(), os.fork()
    if child == 0:
        _become(pickle.loads(body), outputs, keeper)
    for descriptor in outputs:
        os.close(descriptor)
    watched = os.pidfd_open(child)
    watching: list[Any] = [watched, connection]
    ended = select.select(watching, [], [])[0]
    abandoned = watched not in ended  # the job is gone
    if abandoned:
        os.kill(child, signal.SIGTERM)
        if not select.select([watched], [], [], GRACE_S)[0]:
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if abandoned or code < 0:
        os._exit(0)  # the connection ends without a status
    connection.sendall(code.to_bytes(4, "little"))
    os._exit(0)


def _become(asked: dict[str, Any], outputs: list[int], keeper: int) -> None:
    """In the fork: take the job's place and run its function; never returns."""
    global _forked
    _forked = True
    die_with_parent()
    if os.getppid() != keeper:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, output in zip((1, 2), outputs, strict=True):
        os.dup2(output, descriptor)
        os.close(output)
    code = 1
    try:
        os.environ.clear()
        os.environ.update(asked["environ"])
        os.chdir(asked["folder"])
        sys.path[:], sys.argv[:] = asked["path"], asked["argv"]
        module, name = asked["function"]
        getattr(import_module(module), name)(pickle.loads(asked["job"]))
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
