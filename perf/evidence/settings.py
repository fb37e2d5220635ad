"""Settings of the captured steps that later steps run, measured before them, most valuable first.

They are kept in the folder KVBENCH_SETTINGS (`kvbench.engine.tuning`). With --compile nothing is
measured: every choice is compiled into Triton's cache, which may be done beside other work.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from dataclasses import dataclass

import torch

from kvbench.bench.setup import ready
from kvbench.caches import make
from kvbench.cell import Cell
from kvbench.engine.fused_step import FusedStep, Settings
from kvbench.engine.tuning import compile_all
from kvbench.models.build import build
from perf.evidence import groups
from perf.steps import random_weights

SHALLOW = 1001  # tokens, at most, of a cache that is only compiled for


@dataclass(frozen=True)
class Shape:
    """A step's shape: settings are of its preset, cache, batch and capacity, in powers of two."""

    preset: str
    version: str
    batch: int
    tokens: int  # of the cache


SHAPES = [
    *(Shape("gpt2", version, 64, 1001) for version in ("v1", "v2")),
    *(Shape("gpt2", "v1", 1, tokens) for tokens in (33, 1001)),
    Shape("gpt2-xl", "v1", 1, 33),
    *(Shape("gpt2", version, 64, 1001) for version in ("v5", "v4")),
    *(Shape("gpt2", version, 1, 1001) for version in ("v2", "v5", "v4")),
    *(Shape("qwen3-0.6b", version, 16, groups.DEEP + 1) for version in ("v1", "v2")),
    Shape("qwen3-0.6b", "v1", 1, 129),
    *(Shape("gpt2", version, 64, 1001) for version in ("k8v4", "fp8")),
    *(Shape("gpt2", version, 16, 1001) for version in groups.FORMATS),
    *(Shape("gpt2", version, 1, 160) for version in ("v1", "v2")),
]


def main(arguments: list[str] | None = None) -> None:
    """Settle each shape in turn; a line each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", metavar="DIR")
    parser.add_argument("--compile", action="store_true", help="compile the choices, no more")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args(arguments)
    os.environ.pop("KVBENCH_TUNE", None)  # here they are measured
    config = groups.study(given.small)
    for shape in SHAPES[:1] if given.small else SHAPES:
        began = time.monotonic()
        cell = groups.decoding(
            config, shape.preset, shape.version, groups.GRAPH, shape.batch, shape.tokens - 1
        )
        path = random_weights(given.weights, shape.preset)
        if given.small:
            cell, path = groups.small(cell), None
        source = compiled(cell, path) if given.compile else settled(cell, path)
        seconds = time.monotonic() - began
        print(f"{groups.name_of(cell)}: settings {source}, {seconds:.1f} s", flush=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def settled(cell: Cell, path: str | None) -> str:
    """Build the step as the cell does; where its settings come from."""
    with ready(cell, path) as setup:
        step = setup.step(setup.cache(cell.depth + 1))
        return step.settings["source"] if step.settings else "none"


@torch.inference_mode()
def compiled(cell: Cell, path: str | None) -> str:
    """Compile all choices of the step, without the device's lock: nothing is measured."""
    cell_row = (cell.model_config, cell.layer_owner, cell.dtype, path, cell.seed, cell.device)
    model, tokens = build(*cell_row), min(SHALLOW, cell.depth + 1)
    cache = make(cell.storage, model.config, cell.batch_size, tokens, model.lm_head.weight)
    token = torch.zeros(cache.batch, 1, dtype=torch.long, device=cache.device)

    def step(settings: Settings | None = None) -> FusedStep:
        return FusedStep(model, cache, token, token[0, :1].clone(), settings)

    compile_all(step, step())
    return "compiled"


if __name__ == "__main__":
    main()
