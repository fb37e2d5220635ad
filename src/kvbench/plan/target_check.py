"""Targets that Snakemake was asked for and that make nothing, each refused in one line.

Light: the Snakefile imports it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kvbench import versions
from kvbench.benchmarks import BENCHMARKS
from kvbench.plan.config_types import Config
from kvbench.plan.study import quality_presets

CLOSE = 3  # candidates named
COMPARED = ("latency", "decode", "vram")


class TargetError(ValueError):
    """A target that makes nothing: why, and what comes near it, in one line."""


def asked_for() -> tuple[list[str], list[str]]:
    """The targets of this command line, and the rules and files that its other options name."""
    from snakemake.cli import get_argument_parser

    given = get_argument_parser().parse_known_args()[0]
    options = (given.forcerun, given.until, given.omit_from, given.prioritize)
    return sorted(given.targets), sorted({name for names in options for name in names or ()})


def check_targets(
    targets: Iterable[str],
    rules: Iterable[Any],
    config: Config,
    files: Iterable[str],
    others: Iterable[str] = (),
) -> None:
    """Raise TargetError for the first of `targets` that no rule makes, or that makes nothing.

    `rules` are Snakemake's, `files` the paths that are offered for a misspelt one. `others` are
    what options such as `--until` name: any rule, or a file as well.
    """
    by_name = {rule.name: rule for rule in rules}
    wanted = list(targets)
    for target in [*wanted, *others]:
        if target in by_name:
            if target in wanted:
                _check_rule(by_name[target], config)
        elif not os.path.isabs(target):
            path = os.path.relpath(target)
            if not (Path(path).exists() or any(r.is_producer(path) for r in by_name.values())):
                raise TargetError(_unknown(path, list(by_name), files, config))
        elif not Path(target).exists():
            path = os.path.relpath(target)
            raise TargetError(f"no rule makes {target!r}: ask for a path within {os.getcwd()!r}")


def _check_rule(rule: Any, config: Config) -> None:
    """A rule of many files is no target, nor is one that this study leaves without any."""
    if rule.has_wildcards():
        pattern = re.sub(r"{(\w+),[^}]*}", r"{\1}", rule.output[0])
        raise TargetError(f"target {rule.name!r} makes many files: ask for one, {pattern}")
    why = _nothing(rule.name, config)
    if why:
        raise TargetError(f"target {rule.name!r} makes nothing: {why}")


def _nothing(name: str, config: Config) -> str | None:
    """Why a target is empty in this study; None where it is not."""
    measured = config["benchmarks"]
    says = f"config key 'benchmarks' is [{', '.join(measured)}]"
    if name in BENCHMARKS and BENCHMARKS[name].in_all and name not in measured:
        return f"{says}; add {name}"
    if name in ("figures", "tables", "page") and not measured:
        return f"{says}; name those that are wanted"
    if name in ("perplexity", "retrieval", "layers") and not quality_presets(config):
        return "no preset of this study has weights to score: see pretrained, perplexity.presets"
    if name == "peers" and not config["peers"]:
        return "config key 'peers' is empty; name a runner"
    if name == "executions" and not any(map(versions.get_use_cache, config["versions"])):
        return "config key 'versions' names none with a cache, whose steps are compared"
    if name == "compare" and config["compare"]["baseline"] is None:
        return "config key 'compare.baseline' is null; give a results.jsonl"
    if name == "compare" and not set(COMPARED) & set(measured):
        return f"{says}; the gate compares {', '.join(COMPARED)}"
    return None


def _unknown(path: str, names: list[str], files: Iterable[str], config: Config) -> str:
    folder, _, rest = path.partition("/")
    study = rest.split("/")[0]
    if folder == "results" and "/" in rest and study != config["study"]:
        return (
            f"{path!r} is of study {study!r}, this run is of study {config['study']!r}: name that "
            "study's file with --configfile, after the target"
        )
    near = difflib.get_close_matches(path, [*names, *files], CLOSE)
    numbered = "/".join(map(_by_number, path.split("/")))
    if numbered != path:
        near = [numbered]
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"no rule makes {path!r}: {hint}`snakemake --list-target-rules` names the targets"


def _by_number(part: str) -> str:
    """One part of a path, with a version that it calls by name by its number."""
    name, joint, phase = part.rpartition("_")
    if name in versions.BY_NAME:
        return versions.BY_NAME[name] + joint + phase
    return versions.BY_NAME.get(part, part)
