"""Files that a configuration names: those it reads, and the one that it writes results to."""

from __future__ import annotations

import json
import re
from pathlib import Path

from kvbench.plan.refusal import ConfigError
from kvbench.records.provenance import PROJECT


def check_caches(caches: dict[str, str]) -> None:
    """Names that can stand in a path, and Python files that are there."""
    for name, file in caches.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,49}", name):
            raise ConfigError(
                f"config key 'caches' has the name {name!r}; allowed: at most 50 letters, digits "
                "and '-', beginning with a letter"
            )
        path = file.partition(":")[0]
        if not path.endswith(".py") or not is_file(path):
            raise ConfigError(
                f"config key 'caches.{name}' is {file!r}; allowed: an existing Python file with a "
                "class KVCache, or file.py:Class"
            )


def is_file(path: str) -> bool:
    """Whether there is a regular file of this name, which may be none that a system can have."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def check_log_file(name: str, baseline: str | None) -> None:
    """A file of results of ours or a new one, and within a project only under its results."""
    problem, path = None, Path(name)
    try:
        path = path.resolve()
        results, cells = Path("results").resolve(), path.parent.name == "cells"
        inside = any(path.is_relative_to(project) for project in (Path.cwd().resolve(), PROJECT))
        if path.suffix != ".jsonl":
            problem = "its name does not end in .jsonl"
        elif inside and (not path.is_relative_to(results) or cells):
            problem = "it lies within the project, but not in results/{study}/"
        elif baseline is not None and path == Path(baseline).resolve():
            problem = "it is the baseline of 'compare'"
        elif path.exists() and not _is_ours(path):
            problem = "it exists and holds no records of kvbench"
    except (OSError, RuntimeError) as error:
        problem = str(getattr(error, "strerror", error))
    if problem:
        raise ConfigError(
            f"config key 'log_file' is {name!r}: {problem}; allowed: null, or a .jsonl file under "
            "results/ or outside the project that is new or an earlier results.jsonl"
        )


def _is_ours(path: Path) -> bool:
    """Whether a file is empty or begins with a record."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        first = file.readline(2**24)
    try:
        record = json.loads(first) if first else {"schema_version": 0, "benchmark_name": ""}
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and {"schema_version", "benchmark_name"} <= record.keys()
