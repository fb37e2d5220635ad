"""Cells of the evidence: one process measures every cell of a group once, in an order of its own.

So a group's numbered processes are blocks: what disturbs one disturbs all versions in it alike, and
ratios are taken within it.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import torch

from kvbench.bench import decode
from kvbench.bench.setup import ready
from kvbench.cell import Cell
from kvbench.models import weights
from kvbench.models.build import build
from perf.evidence import groups
from perf.evidence.groups import GROUPS
from perf.steps import once, random_weights


def filled(cell: Cell, path: str | None) -> dict[str, Any]:
    """A decode cell over random rows: a prefill of tens of thousands of tokens takes minutes."""
    with ready(cell, path) as setup:
        step = once(setup, cell.batch_size, cell.depth)
        for _ in range(max(1, cell.num_warmup_runs)):
            decode.one_run(setup, step)
        setup.begin()
        runs = [decode.one_run(setup, step) for _ in range(cell.num_measure_runs)]
        middle = median(run["tpot_ms"] for run in runs)
        settings = {**cell.axes(), "steps": cell.steps, "filled": "random rows"}
        return setup.record(**settings, tpot_ms_median=middle, runs=runs)


def measure(cell: Cell, path: str | None, deep: bool) -> dict[str, Any]:
    """The record of one cell; of a `deep` one over random rows."""
    if deep:
        return filled(cell, path)
    return import_module(f"kvbench.bench.{cell.benchmark}").run(cell, path)


def group(given: argparse.Namespace) -> int:
    """Measure a group's cells, a line each into the file; 1 where one could not be measured."""
    chosen = list(GROUPS[given.group](groups.study(given.small)))
    if given.small:
        chosen = groups.different(chosen)
    if given.group != "peers":  # of those, what compiles longest comes last
        random.Random(given.step).shuffle(chosen)
    failed = 0
    for cell in chosen:
        name, path = groups.name_of(cell), random_weights(given.weights, cell.pretrained)
        deep = cell.depth >= groups.DEEP
        if given.small:
            cell, path = groups.small(cell), None
        line: dict[str, Any] = {"step": given.step, "group": given.group, "name": name}
        began = time.monotonic()
        try:
            line["record"] = measure(cell, path, deep)
        except Exception as error:  # the next cell may do
            traceback.print_exc()
            line["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            failed += 1
        line["wall_s"] = round(time.monotonic() - began, 2)
        with open(given.file, "a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{name}: {line.get('error', 'measured')}, {line['wall_s']} s", flush=True)
        gc.collect()  # a captured step refers to itself
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return 1 if failed else 0


def make_weights(folder: str, presets: list[str]) -> int:
    """Draw each preset's random weights into a file, which is read faster than they are drawn."""
    for preset in presets:
        if random_weights(folder, preset) is None:
            model = build(groups.shape_of(preset), dtype="bfloat16", device="cpu", seed=groups.SEED)
            tensors = {name: p.detach() for name, p in model.named_parameters()}
            path = Path(folder) / f"{preset}.safetensors"
            weights.save(path, tensors, source="random", seed=groups.SEED)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """A group's cells, or the weights that they read."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="group", required=True)
    making = commands.add_parser("weights", help="draw random weights into files")
    making.add_argument("folder")
    making.add_argument("presets", nargs="*", metavar="PRESET")
    for name in GROUPS:
        measuring = commands.add_parser(name, help=(GROUPS[name].__doc__ or "").rstrip("."))
        measuring.add_argument("step", help="the name of this process's block")
        measuring.add_argument("file", help="JSON lines, to which each cell is added")
        measuring.add_argument("--weights", metavar="DIR")
        measuring.add_argument("--small", action="store_true")
    given = parser.parse_args(arguments)
    if given.group == "weights":
        return make_weights(given.folder, given.presets)
    return group(given)


if __name__ == "__main__":
    sys.exit(main())
