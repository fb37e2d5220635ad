"""Jobs in environments of their own (`--sdm conda`): nothing of the host's slips in. Stdlib only.

A script loads Snakemake's own modules from the host, whose search path Snakemake appends to the
script's. A package that the environment lacks would then be the host's, of another version or
build, and nothing would show it.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import TracebackType

from kvbench.files import Json

HOST = "KVBENCH_ISOLATED_FROM"  # tells jobs the prefix of the Python that they must not use
LENT = "snakemake"  # and its interfaces: what the host may lend a job
PACKAGES = {"site-packages", "dist-packages"}


class IsolationError(RuntimeError):
    """A job that would run, in part, on the host's packages; in one line."""


def isolate_jobs(envs: Path) -> None:
    """Have every job started from here keep to its environment.

    Raises IsolationError where an environment has another Python than this one: it could not load
    this one's compiled modules.
    """
    here = "{}.{}".format(*sys.version_info)
    for path in sorted(envs.glob("*.yaml")):
        given = re.search(r"^ +- python=(\S+)", path.read_text(), re.MULTILINE)
        if given and given[1] != here:
            raise IsolationError(
                f"envs/{path.name} gives jobs Python {given[1]}, but Snakemake runs on {here}: "
                f"with --sdm conda both must be one; run it on {given[1]}"
            )
    os.environ[HOST] = sys.prefix
    os.environ["PYTHONNOUSERSITE"] = "1"  # nor a user's own packages, there or while pip installs


def leave_host() -> None:
    """In an isolated job: find the packages of no other Python from here on.

    Called when this package is imported, so before any that could be the host's.
    """
    if os.environ.get(HOST, sys.prefix) != sys.prefix:
        sys.path[:] = [folder for folder in sys.path if not _of_another(folder)]
        sys.excepthook = _say


def check_left() -> None:
    """Refuse an isolated job that runs on the host's Python, or has loaded a package of it."""
    if HOST not in os.environ:
        return
    if os.environ[HOST] == sys.prefix:
        raise IsolationError(f"this job runs on Snakemake's own Python, {sys.prefix}")
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and _of_another(file) and "." not in name and not name.startswith(LENT):
            raise IsolationError(
                f"{name} was loaded from the host, {file}: import kvbench before it"
            )


def in_one_line(error: BaseException) -> str:
    """An error as jobs say it; of a module that an isolated job lacks, where it should be."""
    line = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and HOST in os.environ:
        line += f" in this job's environment, {sys.prefix}; name its package in envs/"
    return line


def facts() -> Json:
    """For the record: which environment, by its path in the project or else its name; isolated?"""
    prefix = Path(sys.prefix)
    inside = prefix.is_relative_to(Path.cwd())
    name = prefix.relative_to(Path.cwd()).as_posix() if inside else prefix.name
    return {"python_environment": name, "isolated": HOST in os.environ}


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a script's own imports lack, in one line; all else as usual."""
    if isinstance(error, ModuleNotFoundError):
        print(in_one_line(error), file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _of_another(path: str) -> bool:
    """Whether a path lies among the packages of another Python."""
    there = Path(path)
    return bool(PACKAGES & set(there.parts)) and not there.is_relative_to(sys.prefix)
