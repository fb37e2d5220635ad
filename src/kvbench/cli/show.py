"""`kvbench show`: what a study found, as sentences or as rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kvbench.cli import workflow
from kvbench.cli.errors import Refusal
from kvbench.files import Json

MARGIN = 0.02  # within which versions are called equally fast; the default of a study


class Form(StrEnum):
    """How answers are written."""

    TEXT = "text"
    MD = "md"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


def show(
    study: Annotated[
        str, typer.Argument(help="a study's name, or a folder of results")
    ] = "default",
    form: Annotated[
        Form, typer.Option("--format", help="text, md, csv, json or jsonl")
    ] = Form.TEXT,
) -> int:
    """Say what a study found: speed, memory and quality, each with its interval."""
    from kvbench.analysis import answers

    folder = workflow.results_of(study)
    run_here = (folder / "cells").is_dir()  # a published folder has the records alone
    found = answers.of_study(folder) if run_here else _of_records(folder / "results.jsonl")
    if not found:
        raise Refusal(f"{folder} has no verdicts yet: `kvbench run` or `snakemake` makes them")
    if form is Form.TEXT:
        print(answers.ending(folder) if run_here else answers.text(found))
        return 0
    rows = [row(section, answer) for section in found for answer in section.answers]
    if form is Form.JSON:
        print(json.dumps(rows, indent=1))
    elif form is Form.JSONL:
        print("\n".join(map(json.dumps, rows)))
    else:
        import pandas as pd

        frame = pd.DataFrame(rows)
        if form is Form.CSV:
            print(frame.to_csv(index=False, lineterminator="\n"), end="")
        else:
            short = frame[["question", "model", "cache", "against", "word", "text"]]
            print(short.to_markdown(index=False))
    return 0


def _of_records(file: Path) -> list[Any]:
    """The answers of a results.jsonl alone, as a published study has it."""
    from kvbench.analysis import answers
    from kvbench.analysis.regression import read_lines

    if not file.is_file():
        return []
    return answers.of_records((record for _, record in read_lines(file)), MARGIN)


def row(section: Any, answer: Any) -> Json:
    """One answer as a row: what it is of, its numbers, its sentence."""
    values = asdict(answer)
    place = {key: answer.row.get(key) for key in ("batch_size", "T", "depth")}
    kept = ("word", "value", "low", "high", "level", "gate", "text")
    return {
        "question": section.question,
        "model": section.preset,
        "cache": answer.name,
        "version": answer.version,
        "against": answer.baseline_name,
        **place,
        **{key: values[key] for key in kept},
    }
