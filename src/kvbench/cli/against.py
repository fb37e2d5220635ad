"""This code against another commit's: both measured now, by turns, round by round.

    python -m kvbench.cli.against COMMIT --configfile config/quick.yaml --rounds 5

Measures the study's latency cells with the code of this folder and with that of COMMIT, checked out
in a folder of its own, under results/{study}/against/{commit}; results of the study stay as they
are. Prints each cell's speed-up with its interval. Ends with 1 where a cell is shown to be slower
by more than the margin, and with 2 where there is nothing to measure.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kvbench.analysis import regression
from kvbench.analysis.rounds import UnpairedError
from kvbench.files import Json, write_text
from kvbench.plan import estimate, targets
from kvbench.plan.config import ConfigError, check_written, load_schema, resolve
from kvbench.records.provenance import PROJECT
from kvbench.records.read import MixedRecordsError, each_cell
from kvbench.records.store import write_record
from kvbench.report.tables import publish

NOW, BEFORE = "now", "before"
SHARED = ("raw", "weights", "tokens", "tokenizers")  # inputs that both codes read; no kernels
FEWEST = 3  # rounds that give an interval of any use


class AgainstError(RuntimeError):
    """Why the two codes cannot be compared, in one line."""


def measure_against(
    commit: str, given: Json, name: str, rounds: int, cores: int, margin: float | None
) -> regression.Record:
    """The record of the comparison, which with its table lies under results/{study}/against/.

    `given` is a study's configuration and `name` its name where that gives none; `margin` is by
    default the study's `compare.margin`. Raises AgainstError, and ConfigError for the study.
    """
    if rounds < FEWEST:
        raise AgainstError(f"{rounds} rounds tell nothing apart; allowed: from {FEWEST}")
    given = {**given, "replicates": rounds, "benchmarks": ["latency"]}
    given.pop("compare", None)
    given.pop("log_file", None)
    config = resolve(given, load_schema(), name)
    given |= {"study": config["study"], "weights": _absolute(config["weights"])}
    if given.get("caches"):
        given["caches"] = {name: _absolute(file) for name, file in given["caches"].items()}
    sha = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    folder = Path("results", config["study"], "against", sha[:12]).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    with _checked_out(sha, folder / "code") as code:
        sides = {NOW: (PROJECT, folder / NOW), BEFORE: (code, folder / BEFORE)}
        for _, where in sides.values():
            _prepare(where, given)
        samples = estimate.cells_of(config)
        for number in range(1, rounds + 1):
            files = [path for path in samples if path.endswith(f"/r{number}.json")]
            for side in (NOW, BEFORE) if number % 2 else (BEFORE, NOW):
                _snakemake(*sides[side], cores, files)
        results = f"results/{config['study']}"
        cells = [path.replace("<results>", results) for path in targets.every_cell(config)]
        for project, where in sides.values():
            _snakemake(project, where, cores, cells)
    read = {side: each_cell([str(folder / side / path) for path in cells]) for side in sides}
    margin = config["compare"]["margin"] if margin is None else margin
    record = regression.against(read[NOW], read[BEFORE], margin, alternated=True)
    write_record(folder / "verdicts.json", record)
    title = f"This code against {sha[:12]}"
    table = regression.Table(title, record["rows"], regression.notes(record), record=record)
    publish(table, folder / "compare.md", folder / "compare.csv")
    print((folder / "compare.md").read_text())
    return record


def _absolute(file: Any) -> Any:
    """A study's file by its whole path, as jobs work in folders of their own; no file as it is."""
    if isinstance(file, dict):
        return {preset: _absolute(source) for preset, source in file.items()}
    path, class_, name = str(file).partition(":")
    return f"{Path(path).absolute()}{class_}{name}" if Path(path).is_file() else file


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", PROJECT, *words], capture_output=True, text=True)
    except OSError:
        raise AgainstError("there is no git on PATH, which holds the other commit") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"no such commit: {words[-1]}"]
        raise AgainstError(f"git {words[0]}: {said[-1]}")
    return done.stdout.strip()


@contextmanager
def _checked_out(sha: str, folder: Path) -> Iterator[Path]:
    """The code of a commit, dated as the commit is, so that inputs made since look no older."""
    _git("worktree", "add", "--detach", "--quiet", str(folder), sha)
    try:
        when = int(_git("show", "--no-patch", "--format=%ct", sha))
        for file in _git("ls-tree", "-r", "--name-only", sha).splitlines():
            if (folder / file).is_file():
                os.utime(folder / file, (when, when), follow_symlinks=False)
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def _prepare(where: Path, given: Json) -> None:
    """A folder to work in: the study's configuration, and the inputs that are there already."""
    import yaml

    write_text(where / "study.yaml", yaml.safe_dump(given))
    for name in SHARED:
        source = Path("resources", name)
        if source.is_dir():
            shutil.copytree(source, where / "resources" / name, copy_function=_link)


def _link(source: str, target: str) -> None:
    """One file under two names: replacing one of them leaves the other as it is."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _snakemake(project: Path, where: Path, cores: int, files: Sequence[str]) -> None:
    """Make files with the code of one project, in a folder apart."""
    words = ["--snakefile", str(project / "Snakefile"), "--directory", str(where)]
    words += ["--configfile", str(where / "study.yaml"), "--cores", str(cores), "--quiet", "all"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words, "--", *files], env=environment, cwd=project
    )
    if done.returncode:
        raise AgainstError(f"the code of {project} does not measure this study: see {where}/logs")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, 1 for a regression, or 2 with one line that says what is wrong."""
    import yaml

    parser = argparse.ArgumentParser(
        prog="python -m kvbench.cli.against", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("commit", help="whatever git knows: a hash, a tag, HEAD~3")
    parser.add_argument("--configfile", default=str(PROJECT / "config/config.yaml"))
    parser.add_argument("--rounds", type=int, default=5, help="processes of each cell and code")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--margin", type=float, help="slower by more ends with 1")
    asked = parser.parse_args(arguments)
    try:
        check_written(asked.configfile)
        given = yaml.safe_load(Path(asked.configfile).read_text(encoding="utf-8"))
        name = Path(asked.configfile).stem
        record = measure_against(asked.commit, given, name, asked.rounds, asked.cores, asked.margin)
        regression.check(record)
    except regression.RegressionError as worse:
        print(worse, file=sys.stderr)
        return 1
    except (AgainstError, ConfigError, MixedRecordsError, UnpairedError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
