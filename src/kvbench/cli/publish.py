"""`kvbench publish`: a study's results into the folder that is committed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from kvbench.cli import workflow
from kvbench.cli.errors import Failed, Refusal
from kvbench.files import write_text

KEPT = ("results.jsonl", "report.html", "study.yaml")  # files, then folders of a study's results
FOLDERS = ("figures", "tables", "verdicts", "controls", "gates", "tradeoff")
ROOFS = "roofline/roofs.json"


def publish(
    study: Annotated[str, typer.Argument(help="a study's name, or its folder of results")],
    name: Annotated[str, typer.Argument(help="of the folder under published/")],
) -> int:
    """Copy a study's records, page, figures and tables to published/NAME, and say there how.

    Nothing is copied unless every record fits the schema; nothing that is there is overwritten.
    """
    from kvbench.records import schema

    source, into = workflow.results_of(study), workflow.project() / "published" / name
    if into.exists():
        raise Refusal(f"{into.relative_to(workflow.project())} exists: take another name")
    if not name.strip(".") or Path(name).is_absolute() or ".." in Path(name).parts:
        raise Refusal(f"name {name!r} lies outside published/; allowed: a folder within it")
    records = source / "results.jsonl"
    if not records.is_file():
        raise Refusal(f"{records} is not there: run the study first")
    try:
        count = schema.check_file(records)
    except schema.SchemaError as error:
        raise Failed(str(error)) from None
    found = [source / name for name in KEPT]
    found += [path for folder in FOLDERS for path in sorted((source / folder).glob("*"))]
    copied = [path for path in found if path.is_file()]
    for path in copied:
        _copy(path, into / path.relative_to(source))
    if (source / ROOFS).is_file():
        _copy(source / ROOFS, into / "roofs.json")
    write_text(into / "README.md", about(name, study, source))
    print(
        f"{count} records and {len(copied)} files are in {into}; commit them, and name the folder"
    )
    print("in published/README.md")
    return 0


def about(name: str, study: str, source: Path) -> str:
    """The page of a published folder: on what, by which command, and what was found."""
    from kvbench.analysis import answers
    from kvbench.analysis.regression import read_lines

    _, first = next(iter(read_lines(source / "results.jsonl")))
    machine = f"{first['device_name']}, {first['threads']} thread, {first['dtype']}"
    code = f"commit {first.get('commit')}, torch {first['pytorch_version']}"
    own = (source / "study.yaml").is_file()
    file = f"published/{name}/study.yaml" if own else f"config/{Path(study).name}.yaml"
    again = "" if Path(study).name == workflow.DEFAULT else f" --configfile {file}"
    found = answers.text(answers.of_study(source))
    lines = [
        f"# {name}",
        f"Study `{Path(study).name}` on {machine}; {code}.",
        f"```console\n$ snakemake --cores 1 all{again}\n```",
        *([f"```\n{found}\n```"] if found else []),
    ]
    return "\n\n".join(lines) + "\n"


def _copy(source: Path, into: Path) -> None:
    into.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, into)
