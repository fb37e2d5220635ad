"""`kvbench compare`: two caches of one study, two studies, or two states of the code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvbench import versions
from kvbench.cli import workflow
from kvbench.cli.errors import Failed, Refusal, unknown
from kvbench.records.record import Record, Row

Share = Annotated[
    str | None, typer.Option("--fail-over", help="exit 1 where it is slower by more than this: 5%")
]


def compare(
    a: Annotated[
        str | None, typer.Argument(help="a cache; or a study, folder or results.jsonl: before")
    ] = None,
    b: Annotated[str | None, typer.Argument(help="another cache; or the results now")] = None,
    study: Annotated[
        str, typer.Option("--study", help="where two caches were measured")
    ] = workflow.DEFAULT,
    fail_over: Share = None,
    against: Annotated[
        str | None, typer.Option("--against", help="a commit: both codes are measured now")
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", help="of --against: processes a cell")] = 5,
) -> int:
    """Compare two caches, the first with the second, earlier results with later ones, or codes.

    Exit status 1 where --fail-over is given and the first cache, a later result or this code is
    slower by more than that with its whole interval.
    """
    margin = share(fail_over) if fail_over else None
    if against is not None:
        return _codes(against, a or workflow.DEFAULT, rounds, margin)
    if a is None:
        raise Refusal("compare needs two caches, two studies, or --against COMMIT")
    if _is_cache(a) or (b is not None and _is_cache(b)):
        if b is None:
            raise Refusal("compare needs two caches, as in: kvbench compare int8 dense")
        return _caches(a, b, study, margin)
    return _studies(a, b or workflow.DEFAULT, margin)


def share(text: str) -> float:
    """A share as `5%` or `0.05`. Raises Refusal."""
    try:
        value = float(text.rstrip("% ")) / (100 if text.rstrip().endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise Refusal(f"--fail-over is {text!r}; allowed: a share such as 5% or 0.05")
    return value


def results_file(name: str) -> Path:
    """The results.jsonl that a word names: a file, a folder, a study's name. Raises Refusal."""
    if Path(name).is_file():
        return Path(name)
    file = workflow.results_of(name) / "results.jsonl"
    if not file.is_file():
        raise Refusal(f"{file} is not there: `snakemake --cores 1 {file}` makes it")
    return file


def _is_cache(word: str) -> bool:
    return word in versions.VERSIONS or word in versions.BY_NAME


def _caches(a: str, b: str, study: str, margin: float | None) -> int:
    from kvbench import api

    for name in (a, b):
        if not _is_cache(name):
            raise unknown("cache", name, versions.BY_NAME)
    results = api.read_results(results_file(study))
    found = []
    for frame in (results[name] for name in ("latency", "decode") if name in results):
        places = ["model", *(key for key in ("batch_size", "T", "depth") if key in frame)]
        for place in frame[places].drop_duplicates().itertuples(index=False):
            where = dict(zip(places, place, strict=True))
            try:
                found.append((where, api.compare(frame, a, b, **where)))
            except ValueError as error:
                raise Refusal(f"{study}: {error}") from None
    if not found:
        raise Refusal(f"study {study} has no timed cells")
    worse = []
    for where, answer in found:
        at = ", ".join(f"{key} {value}" for key, value in where.items())
        print(f"{at.replace('batch_size', 'batch').replace('model ', '')}: {answer}")
        if margin is not None and answer.high is not None and answer.high < 1 / (1 + margin):
            worse.append(at)
    if worse:
        raise Failed(f"{a} is slower than {b} by more than {100 * (margin or 0):g} % at: {worse}")
    return 0


def _codes(commit: str, study: str, rounds: int, margin: float | None) -> int:
    """This code against a commit's, on the latency cells of a study."""
    from kvbench.analysis import regression
    from kvbench.analysis.rounds import UnpairedError
    from kvbench.cli.against import AgainstError, measure_against
    from kvbench.plan.config import ConfigError
    from kvbench.records.read import MixedRecordsError

    file = workflow.study_file(study)
    name = workflow.DEFAULT if study == workflow.DEFAULT else file.stem
    try:
        record = measure_against(commit, workflow.configuration(file), name, rounds, 1, margin)
        if margin is not None:
            regression.check(record)
    except regression.RegressionError as worse:
        raise Failed(str(worse)) from None
    except (AgainstError, ConfigError, MixedRecordsError, UnpairedError) as error:
        raise Refusal(str(error)) from None
    return 0


def _studies(before: str, now: str, margin: float | None) -> int:
    from kvbench.analysis import regression
    from kvbench.records.read import MixedRecordsError
    from kvbench.records.store import RecordError

    files = [results_file(name) for name in (before, now)]
    page = files[1].with_name("compared.html")
    try:
        record = _compared(files[0], files[1], page, 0.05 if margin is None else margin)
    except (MixedRecordsError, RecordError, ValueError) as error:
        raise Refusal(str(error)) from None
    changed = [r for r in record["rows"] if r["verdict"] not in ("inconclusive", "equal")]
    print(f"{len(record['rows'])} cells of {files[1]} against {files[0]}")
    for line in (*map(sentence, changed), *regression.notes(record)):
        print(line)
    if page.is_file():
        print(f"page: {page}")
    if margin is not None:
        try:
            regression.check(record)
        except regression.RegressionError as error:
            raise Failed(str(error)) from None
    return 0


def _compared(before: Path, now: Path, page: Path, margin: float) -> Record:
    """The record of the comparison of two results, and its page where the extra is installed."""
    from kvbench.analysis import regression

    try:
        from kvbench.report.page.compared import compare as write
    except ModuleNotFoundError as missing:
        print(f"no page: {missing.name} is not installed (pip install 'kvbench[page]')")
        page.unlink(missing_ok=True)  # of an earlier comparison
        return regression.against(regression.read_lines(now), regression.read_lines(before), margin)
    return write(before, now, page, margin)


def sentence(row: Row) -> str:
    """One cell that changed, in a line."""
    from kvbench.analysis.verdict_notes import at
    from kvbench.stats.digits import short, spoken

    where = f", {at(row)}" if row.get("T") or row.get("depth") else ""
    of = f"{row['benchmark']} of {row['version']}, {row['pretrained']}{where}"
    if "smaller" in row:
        return f"  {of}: {row['verdict']}, the peak by {short(1 / row['smaller'])}"
    speedup = spoken(row["speedup"], row["speedup_low"], row["speedup_high"])
    return f"  {of}: {row['verdict']}, {speedup} times as fast"
