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
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import torch

from kvbench.bench import decode
from kvbench.bench.setup import ready
from kvbench.cell import Cell
from kvbench.costs.layer_map import owners
from kvbench.models import weights
from kvbench.models.build import build
from kvbench.plan import cells, weight_paths
from kvbench.plan.config import load_schema, resolve
from kvbench.plan.config_types import Config
from kvbench.presets import get_preset
from kvbench.shape import Shape
from perf.steps import once, random_weights

SEED = 42
STUDY = {
    **{"dtype": "bfloat16", "device": "cuda", "prompt_length": 32, "seed": SEED},
    **{"num_warmup_runs": 2, "num_measure_runs": 5, "yardstick": False, "temperature": 0},
    "energy_s": 0,
    "decode": {"depths": [1000], "steps": 50},
    "versions": [
        *(f"v{n}" for n in range(6)),
        {"name": "k8v4", "keys": "int8", "values": "int4"},
        {"name": "fp8", "keys": "fp8_e4m3", "values": "fp8_e4m3"},
    ],
}
FORMATS = ("v1", "v2", "v5", "k8v4", "fp8")
# The shape of Qwen3-0.6B, without its norm of Q and K.
QWEN: Shape = {
    "arch": "llama",
    "n_layer": 28,
    "n_head": 16,
    "n_kv_head": 8,
    "n_embd": 1024,
    "head_dim": 128,
    "n_inner": 3072,
    "block_size": 40960,
    "vocab_size": 151936,
    "rope_base": 1e6,
    "norm_eps": 1e-6,
}
SHAPES = {"qwen3-0.6b": QWEN}  # of presets that are not in the registry
GRAPH, SDPA, EAGER = "graph-triton", "graph-torch", "eager-torch"
DEEP = 32_768

Group = Callable[[Config], Iterator[Cell]]


def of_few_runs(config: Config) -> Config:
    """For generations of many tokens."""
    return config | {"num_warmup_runs": 1, "num_measure_runs": 3}


def executions(config: Config) -> Iterator[Cell]:
    """v1 and v2 of gpt2, 128 tokens, by each way to run a step."""
    for version in ("v1", "v2"):
        for mode in (EAGER, SDPA, GRAPH):
            counted = of_few_runs(config) | {"energy_s": 1.0 if mode == GRAPH else 0}
            yield cells.execution(counted, "gpt2", mode, version, T=128)


def steps_at_depth(config: Config) -> Iterator[Cell]:
    """The decode step at depth 1000, batch 1 and 64, and the prefill of 512 tokens."""
    for version in ("v1", "v2", "v5"):
        yield cells.cell(config, "roofline", "gpt2", version, phase="prefill", P=512)
    for batch in (64, 1):
        for version in ("v1", "v2", "v4", "v5"):
            yield decoding(config, "gpt2", version, GRAPH, batch, 1000)
        yield decoding(config, "gpt2", "v1", SDPA, batch, 1000)


def formats(config: Config) -> Iterator[Cell]:
    """The decode step at depth 1000 through formats that people choose, batch 64 and 16."""
    for batch in (64, 16):
        for version in FORMATS:
            yield decoding(config, "gpt2", version, GRAPH, batch, 1000)


def large(config: Config) -> Iterator[Cell]:
    """Larger models at batch 1, and Qwen3-0.6B's shape where the cache outweighs the weights."""
    for mode in (GRAPH, SDPA):
        yield decoding(config, "gpt2-xl", "v1", mode, 1, 32)
        yield decoding(config, "qwen3-0.6b", "v1", mode, 1, 128)
    for version in ("v1", "v2"):
        yield decoding(config, "qwen3-0.6b", version, GRAPH, 16, DEEP)


def memory(config: Config) -> Iterator[Cell]:
    """What a generation of 512 tokens holds."""
    for version in ("v0", "v1", "v2", "v3", "v4"):  # bytes repeat exactly: one run
        yield cells.cell(config | {"num_measure_runs": 1}, "vram", "gpt2", version, T=512)


def peers(config: Config) -> Iterator[Cell]:
    """Other runners of v1's weights, and torch.compile's step, beside v1's own."""
    for mode in (GRAPH, "compile-torch"):
        yield cells.execution(of_few_runs(config), "gpt2", mode, "v1", T=128)
    for peer in ("transformers-dynamic", "transformers-static"):
        yield cells.peer(of_few_runs(config), "gpt2", peer, T=128)


GROUPS: dict[str, Group] = {
    "executions": executions,
    "decode": steps_at_depth,
    "formats": formats,
    "large": large,
    "memory": memory,
    "peers": peers,
}


def decoding(config: Config, preset: str, version: str, mode: str, batch: int, depth: int) -> Cell:
    """A decode cell of a preset of the registry or of SHAPES."""
    known = preset not in SHAPES
    cell = cells.cell(config, "decode", "gpt2", version, batch=batch, depth=depth)
    shape = get_preset(preset) if known else SHAPES[preset].copy()
    shape.pop("weights", None)
    owner = owners(weight_paths.layer_map(config, version), shape["n_layer"])
    execution, kernel = mode.split("-")
    return cell.replace(
        pretrained=preset,
        model_config=shape,
        layer_owner=owner,
        execution=execution,
        kernel=kernel,
    )


def small(cell: Cell) -> Cell:
    """The same path on a CPU at a size that takes moments."""
    llama = cell.model_config["arch"] == "llama"
    shared = cell.layer_owner != list(range(len(cell.layer_owner)))
    n_layer = 2 if shared else 1  # Triton's interpreter takes a second a layer
    shape = {"arch": "gpt2", "n_layer": n_layer, "n_head": 1, "n_embd": 32}
    shape |= {"block_size": 96, "vocab_size": 32}
    if llama:
        shape |= {"arch": "llama", "n_head": 2, "n_kv_head": 1, "head_dim": 32, "n_inner": 48}
    return cell.replace(
        device="cpu",
        dtype="float32",
        model_config=shape,
        layer_owner=[0, 0][:n_layer],
        prompt_length=3,
        num_warmup_runs=1,
        num_measure_runs=1,
        execution="eager",
        energy_s=0.0,
        steps=1,
        batch_size=min(2, cell.batch_size),
        **{key: min(getattr(cell, key), 2) for key in ("T", "depth", "P")},
    )


def different(chosen: list[Cell]) -> list[Cell]:
    """One cell of each path through the code, of those that differ in size alone."""
    seen: dict[tuple[Any, ...], Cell] = {}
    for cell in chosen:
        one = cell.version == "v1" and cell.batch_size == 1
        path = (cell.version, cell.execution, cell.kernel, cell.phase, cell.depth >= DEEP)
        seen.setdefault((*path, cell.model_config["arch"], one), cell)
    return list(seen.values())


def name_of(cell: Cell) -> str:
    """A cell in words."""
    key = next(key for key in ("depth", "P", "T") if getattr(cell, key))
    length = f"{cell.phase} {key} {getattr(cell, key)}".strip()
    what = f"{cell.pretrained} {cell.version}"
    return f"{what} {cell.execution}-{cell.kernel} B {cell.batch_size} {length}"


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
    study = {key: STUDY[key] for key in STUDY if not (given.small and key == "device")}
    config = resolve(study, load_schema())
    chosen = list(GROUPS[given.group](config))
    if given.small:
        chosen = different(chosen)
    if given.group != "peers":  # of those, what compiles longest comes last
        random.Random(given.step).shuffle(chosen)
    failed = 0
    for cell in chosen:
        name, path = name_of(cell), random_weights(given.weights, cell.pretrained)
        deep = cell.depth >= DEEP
        if given.small:
            cell, path = small(cell), None
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
            shape = SHAPES.get(preset) or get_preset(preset)
            model = build(shape, dtype="bfloat16", device="cpu", seed=SEED)
            tensors = {name: p.detach() for name, p in model.named_parameters()}
            path = Path(folder) / f"{preset}.safetensors"
            weights.save(path, tensors, source="random", seed=SEED)
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
