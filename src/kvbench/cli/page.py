"""`kvbench page`: the page of a study, made where it is not, and opened."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from kvbench.cli import workflow
from kvbench.cli.errors import Failed


def page(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="a study's name or file")] = workflow.DEFAULT,
    opened: Annotated[bool, typer.Option("--open", help="show it in the browser")] = False,
    cores: Annotated[int, typer.Option("--cores", min=1)] = 1,
) -> int:
    """Make the page of a study, and all that it needs, and say where it lies."""
    own = Path("results", study, "study.yaml")  # of a run that named caches
    file = own if own.is_file() else workflow.study_file(study)
    name = workflow.resolved(workflow.configuration(file), file.stem)["study"]
    if file == workflow.studies()[workflow.DEFAULT]:
        name = workflow.DEFAULT
    target = f"results/{name}/report.html"
    options = ["--configfile", str(file), *(context.obj or [])]
    if workflow.call([target], options, cores):
        raise Failed(f"{target} was not made: see above")
    print(f"page: {target}")
    if opened:
        webbrowser.open(Path(target).resolve().as_uri())
    return 0
