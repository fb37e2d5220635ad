"""`kvbench list`: what there is to ask for."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer

from kvbench import versions
from kvbench.benchmarks import BENCHMARKS
from kvbench.cli import workflow
from kvbench.costs.forward import n_params
from kvbench.costs.layer_map import label, owners_in
from kvbench.plan import targets
from kvbench.presets import PRESETS


class What(StrEnum):
    """What can be listed."""

    CACHES = "caches"
    MODELS = "models"
    STUDIES = "studies"
    FIGURES = "figures"
    TARGETS = "targets"


WIDTH = 116  # columns of a line
PLURAL = {
    "all": "every result, figure and table of the study",
    "figures": "every figure",
    "tables": "every table",
}


def list_(
    what: Annotated[What, typer.Argument(help="caches, models, studies, figures or targets")],
    config: Annotated[
        list[str] | None, typer.Option("--config", help="of caches: a study that describes some")
    ] = None,
) -> int:
    """List the caches, models, studies, figures or targets that there are."""
    if what is What.CACHES:
        print(table(_caches(config or [])))
        return 0
    rows = {
        What.MODELS: _models,
        What.STUDIES: _studies,
        What.FIGURES: _figures,
        What.TARGETS: _targets,
    }[what]()
    print(table(rows))
    return 0


def table(rows: Iterable[tuple[str, ...]]) -> str:
    """Rows in columns as wide as they must be; the last is wrapped to a terminal's WIDTH."""
    every = list(rows)
    widths = [max(map(len, column)) for column in zip(*every, strict=True)][:-1]
    left = sum(width + 2 for width in widths)
    lines = []
    for *row, last in every:
        parts = textwrap.wrap(last, max(WIDTH - left, 20), break_long_words=False) or [""]
        begins = "".join(f"{word:<{width}}  " for word, width in zip(row, widths, strict=True))
        lines += [begins + parts[0], *(" " * left + part for part in parts[1:])]
    return "\n".join(line.rstrip() for line in lines)


def _caches(studies: list[str]) -> list[tuple[str, ...]]:
    head = [("name", "version", "layer map", "description")]
    return head + [
        (versions.NAMES[v], v, label(versions.layer_map(v)), line["description"])
        for v, line in workflow.registered(studies).items()
    ]


def _models() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("model", "parameters", "layers", "heads", "K/V heads", "context", "weights")
    ]
    for name, shape in PRESETS.items():
        heads, layers = shape["n_head"], shape["n_layer"]
        params = sum(n_params(shape, owners_in("own", shape)).values())
        kv = shape.get("n_kv_head", heads)
        numbers = (f"{params / 1e6:,.0f} M", layers, heads, kv, f"{shape['block_size']:,}")
        rows.append((name, *map(str, numbers), shape["weights"]))
    return rows


def _studies() -> list[tuple[str, ...]]:
    return [(name, _first_comment(path.read_text())) for name, path in workflow.studies().items()]


def _first_comment(text: str) -> str:
    """The first sentence of the comment that a file begins with, or nothing."""
    lines = itertools.takewhile(lambda line: line.startswith("# "), text.splitlines())
    said = " ".join(line[2:].strip() for line in lines)
    return re.split(r"(?<=\.) (?=[A-Z])", said)[0]


def _figures() -> list[tuple[str, ...]]:
    return [(name, "of " + ", ".join(drawn)) for name, drawn in targets.FIGURES.items()]


def _targets() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [*PLURAL.items()]
    for name, line in BENCHMARKS.items():
        part = "" if line.in_all else ", not part of `all`"
        rows.append((name, f"results/{{study}}/{targets.cell_path(name)}.json{part}"))
    return rows
