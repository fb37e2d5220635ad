"""Measure speed targets: `python -m perf [ROW ...]`, into results/bench/speed.json."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from kvbench.files.placeholder import NotMeasuredError
from perf import judge, report
from perf.choice import chosen
from perf.targets import EXACTLY, TARGETS, Target, small

LIBRARY = "resources/kernels/kvbench.so"
PUBLISHED = sorted(Path(__file__).parents[1].glob("published/*/bench/speed.json"))
WEIGHTS = "resources/weights/gpt2/random-42.safetensors"


def sample(target: Target, settings: dict[str, Any]) -> dict[str, Any]:
    """One process's samples of a row, and the machine they come from."""
    from perf.here import machine

    module, function = target.by.split(".")
    measure = getattr(import_module(f"perf.{module}"), function)
    before = machine(settings)
    try:
        found = measure(settings)
    except NotMeasuredError as missing:
        return {"reason": str(missing), "machine": before}
    read = [before["read_gb_s"], machine(settings)["read_gb_s"]]
    return found | {"machine": before | {"read_gb_s": read}}


def measure(name: str, target: Target, paths: dict[str, Any]) -> dict[str, Any]:
    """The row of one target, each sample from a fresh process."""
    settings = {"seconds": 1.0, **target.settings, **paths}
    samples = []
    for _ in range(target.processes):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            found = fresh.submit(sample, target, settings).result()
        if "reason" in found:
            return judge.not_measured(name, target, found["reason"], found["machine"])
        samples.append(found)
    return judge.judged(name, target, samples)


def main(arguments: list[str] | None = None) -> int:
    """Measure the chosen rows, one after the other, each kept as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m perf", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="a row, or a pattern: 'int8-*'")
    parser.add_argument("--output", default="results/bench/speed.json")
    parser.add_argument("--library", default=LIBRARY, help="the native kernels' file, or none")
    parser.add_argument("--weights", default=WEIGHTS, help="for the row `cell`")
    parser.add_argument("--tensors", help="folder of random weights, {preset}.safetensors each")
    parser.add_argument("--device", help="instead of the row's own")
    parser.add_argument("--processes", type=int, help="fresh ones for each row, for its interval")
    parser.add_argument("--small", action="store_true", help="try the paths; numbers mean nothing")
    parser.add_argument("--list", action="store_true", help="name the rows, and measure nothing")
    parser.add_argument("--markdown", action="store_true", help="print the table of --output")
    asked = parser.parse_args(arguments)
    try:
        names = chosen(TARGETS, asked.rows, "row")
        known = report.read(asked.output)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if asked.list:
        print(*(f"{name:20} {TARGETS[name].what}" for name in names), sep="\n")
        return 0
    if asked.markdown:
        print(report.markdown(known), end="")
        return 0
    print(report.HEAD, flush=True)
    failed, first = 0, True
    for name in names:
        target = small(TARGETS[name]) if asked.small else TARGETS[name]
        if asked.processes and target.sense != EXACTLY:
            target = replace(target, processes=asked.processes)
        paths = {"weights": asked.weights, "tensors": asked.tensors}
        paths |= {"library": None if asked.library == "none" else asked.library}
        if asked.device:
            paths |= {"device": asked.device}
        try:
            row = measure(name, target, paths)
        except Exception as error:
            print(f"{name:20} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        row["before"] = report.before(row, [asked.output, *PUBLISHED]) if not asked.small else None
        report.merge(asked.output, row)
        if first:
            print(f"on {', '.join((report.processor(row)[0], *row['machine']['cpu_extensions']))}")
            first = False
        print(report.line(row), flush=True)
    return 1 if failed else 0
