"""`kvbench run`: measure, saying first what and how long, and last what was found."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from kvbench.cli import workflow
from kvbench.cli.errors import Refusal
from kvbench.cli.progress import execute
from kvbench.cli.study import Asked, compose, listed, merged, numbers, overrides
from kvbench.files import Json
from kvbench.plan import estimate, rounds
from kvbench.plan.config_types import Config

LEAST, MOST = 2, 30  # processes a cell that a budget may choose
OVERHEAD_S = 1.5  # of a job that measures nothing, or of one more for Snakemake
Words = Annotated[
    list[str] | None,
    typer.Argument(help="caches (int8, v1, my_cache.py), benchmarks (latency), studies (quick)"),
]
Several = list[str] | None


def run(
    context: typer.Context,
    words: Words = None,
    model: Annotated[Several, typer.Option("--model", "--preset", "-m", help="presets")] = None,
    version: Annotated[Several, typer.Option("--version", help="caches, as words are")] = None,
    cache: Annotated[
        Several, typer.Option("--cache", help="a cache of your own: a .py file")
    ] = None,
    config: Annotated[Several, typer.Option("--config", help="a study's file, or its name")] = None,
    study: Annotated[str | None, typer.Option("--study", help="name of the results folder")] = None,
    tokens: Annotated[
        Several, typer.Option("--tokens", "-T", help="tokens generated: 8,16")
    ] = None,
    depth: Annotated[Several, typer.Option("--depth", help="tokens cached: 512,1024")] = None,
    batch: Annotated[Several, typer.Option("--batch", help="sequences: 1,8")] = None,
    prompt: Annotated[int | None, typer.Option("--prompt", help="tokens of the prompt")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="of weights, activations")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda")] = None,
    replicates: Annotated[int | None, typer.Option("--replicates", help="processes a cell")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="time to stay in: 5m")] = None,
    cores: Annotated[int, typer.Option("--cores", help="cores of the run", min=1)] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="say the plan alone")] = False,
) -> int:
    """Measure caches against one another, or run a study, and say what was found.

    Words name caches, benchmarks, targets and studies in any order. What stands after -- goes to
    Snakemake as it is.
    """
    asked = Asked.of([*(words or []), *listed(version or [])])
    for file in cache or []:
        asked.add_cache(file)
    if asked.caches:
        _check_caches(list(asked.caches.values()))
    further = {
        "batch_size": numbers(batch or [], "batch"),
        "prompt_length": prompt,
        "dtype": dtype,
        "device": device,
        "replicates": replicates,
    }
    set_here = overrides(
        asked,
        listed(model or []),
        numbers(tokens or [], "tokens"),
        numbers(depth or [], "depth"),
        further,
    )
    given, name = compose(asked, config or [], set_here, study)
    resolved = workflow.resolved(given, name)
    if budget is not None or replicates is not None:  # the same of every cell
        given = merged(given, {"decode": {"replicates": None}}) | {"stopping": {}}
        resolved = workflow.resolved(given, name)
    if budget is not None:
        given["replicates"] = within(_seconds(budget), resolved)
        resolved = workflow.resolved(given, name)
    changed = bool(set_here or study or budget)
    folder = Path(tempfile.mkdtemp()) if dry_run else Path("results", resolved["study"])
    study_file = _written(given, folder, changed, asked, config)
    options = [*(["--configfile", str(study_file)] if study_file else []), *(context.obj or [])]
    targets = asked.targets or ["all"]
    if set(targets) <= set(resolved["benchmarks"]) and set_here:
        targets = ["all"]
    if rounds.adds_rounds(resolved):
        os.environ[rounds.ADD] = "1"
    made = _measure(targets, options, cores, resolved, dry_run)
    while made and rounds.adds_rounds(resolved):
        made = _measure(targets, options, cores, resolved, dry_run, further=True)
    return 0


def _measure(
    targets: list[str],
    options: list[str],
    cores: int,
    config: Config,
    dry_run: bool,
    further: bool = False,
) -> bool:
    """Say the plan and carry it out; whether anything was made.

    `further`: the study may go on by a round, and nothing is said where it does not.
    """
    jobs = plan(targets, options, cores)
    if rounds.adds_rounds(config):
        config["replicates"], _ = json.loads(rounds.DECIDED.read_text())
    cells = {path: cell for path, cell in estimate.cells_of(config).items() if path in jobs}
    if further and not cells:
        return False
    forecast = estimate.Forecast()
    seconds = {path: forecast.seconds(cell) for path, cell in cells.items()}
    total = sum(seconds.values()) + OVERHEAD_S * len(jobs) + estimate.training_s(config, jobs)
    _say_plan(config, cells, len(jobs), total, forecast)
    if dry_run:
        return False
    if jobs:
        execute(workflow.command(targets, options, cores), seconds, total)
    else:
        _say_answers(config)
    return bool(jobs)


def plan(targets: list[str], options: list[str], cores: int) -> set[str]:
    """The outputs that Snakemake would make. Raises Refusal with what it says where it refuses."""
    ask = workflow.command(targets, ["--dry-run", "--quiet", "host", *options], cores)
    done = subprocess.run(ask, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode:
        raise Refusal(_reason(said))
    found = re.findall(r"^    output: (.*)$", said, re.M)
    return {path for line in found for path in line.split(", ")}


def _reason(said: str) -> str:
    """The last thing that Snakemake says before it ends."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("Using ", "Assuming ", "Config file"))]
    return kept[-1] if kept else "Snakemake ended without a word"


def _seconds(budget: str) -> float:
    try:
        return estimate.seconds_of(budget)
    except ValueError as error:
        raise Refusal(f"--{error}") from None


def within(budget: float, config: Config) -> int:
    """The most processes a cell that a time allows, by the forecast. Raises Refusal for none."""
    one = config | {"replicates": 1}
    forecast, each, rest = estimate.Forecast(), 0.0, 0.0
    timed = ("latency_vs_T", "decode", "dispatch")
    for cell in estimate.cells_of(one).values():
        seconds = forecast.seconds(cell) + OVERHEAD_S
        each, rest = (
            (each + seconds, rest) if cell.benchmark_name in timed else (each, rest + seconds)
        )
    rest += 20  # figures, tables, and Snakemake's own plan
    fitting = int((budget - rest) // each) if each else LEAST
    if fitting < LEAST:
        raise Refusal(
            f"--budget holds no {LEAST} processes of each cell, which take about "
            f"{estimate.words(rest + LEAST * each)}: give more time, or fewer caches or lengths"
        )
    return min(MOST, fitting)


def _check_caches(files: list[str]) -> None:
    """Refuse a cache that cannot be measured, before anything is."""
    from kvbench.caches.check import check_cache

    for file in files:
        found = check_cache(file)
        if not found.ok:
            raise Refusal(f"{file}: {found.problems[0]} (kvbench check {file} says all)")


def _written(
    given: Json, folder: Path, changed: bool, asked: Asked, files: list[str] | None
) -> Path | None:
    """The configuration file to run: the study's own, or what was set here, beside its results."""
    import yaml

    from kvbench.files import write_text

    named = [*asked.studies, *(files or [])]
    if not changed and len(named) < 2:
        return workflow.study_file(named[0]) if named else None
    path = folder / "study.yaml"
    write_text(path, "# Made by kvbench run.\n" + yaml.safe_dump(given, sort_keys=False))
    return path


def _say_plan(config: Config, cells: Json, jobs: int, total: float, forecast: Any) -> None:
    """One line: what will be measured and how long that takes."""
    if not jobs:
        print(f"plan: nothing to measure, all of study {config['study']} is made")
        return
    models = ", ".join(dict.fromkeys(cell.pretrained for cell in cells.values()))
    caches = len({cell.version for cell in cells.values()})
    by = "as earlier runs here took" if forecast.scale else "by the shape alone, nothing ran here"
    what = f"{caches} cache{'s' * (caches > 1)} on {models}, {len(cells)} processes that measure, "
    print(f"plan: {what if cells else ''}{jobs} files, about {estimate.words(total)} ({by})")
    if minutes := config["stopping"]["minutes"]:
        print(f"further rounds are measured while all of them fit into {minutes:g} minutes")
    sys.stdout.flush()


def _say_answers(config: Config) -> None:
    """What the study found; Snakemake itself has said it where something was made."""
    from kvbench.analysis import answers

    print(answers.ending(f"results/{config['study']}"))
