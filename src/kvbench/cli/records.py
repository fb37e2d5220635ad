"""`kvbench check`, `merge` and `ncu`: the package's own programs, under one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvbench.cli import workflow
from kvbench.cli.errors import Failed, Refusal


def check(
    what: Annotated[str, typer.Argument(help="results.jsonl, my_cache.py, a study.yaml, a study")],
) -> int:
    """Check a file of records against the schema, a cache, or a study's configuration."""
    path = Path(what)
    if what.partition(":")[0].endswith(".py"):
        from kvbench.caches.check import check_cache

        found = check_cache(what)
        print(found)
        return 0 if found.ok else 1
    if path.suffix in (".yaml", ".yml") or (what in workflow.studies() and not path.exists()):
        file = workflow.study_file(what)
        name = workflow.resolved(workflow.configuration(file), file.stem)["study"]
        print(f"{file}: a study, {name}, whose every key is allowed")
        return 0
    from kvbench.records import schema

    file = path / "results.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise Refusal(f"no file {str(file)!r}: give a results.jsonl, a .py file or a .yaml file")
    try:
        count = schema.check_file(file)
    except schema.SchemaError as error:
        raise Failed(str(error)) from None
    print(f"{file}: {count} records fit the schema")
    return 0


def merge(
    into: Annotated[Path, typer.Argument(help="the study's folder here, results/{study}")],
    others: Annotated[list[Path], typer.Argument(help="the same folder of other machines")],
) -> int:
    """Merge the shards of one study that several machines measured."""
    from kvbench.records.merge import ShardError
    from kvbench.records.merge import merge as merge_shards

    try:
        merged = merge_shards(into, others)
    except ShardError as error:
        raise Failed(str(error)) from None
    print(f"{len(merged)} records merged into {into}")
    return 0


def ncu(context: typer.Context) -> int:
    """Read an export of Nsight Compute, or profile one phase: kvbench ncu --help."""
    from kvbench.ncu.__main__ import main

    try:
        return main(list(context.args))
    except SystemExit as end:  # of its own parser, which has said why
        return end.code if isinstance(end.code, int) else 2
