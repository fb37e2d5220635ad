"""What a decode step of each preset should take on an H200: bytes, launches and time, as a table.

    python -m perf.predicted

prints it for docs/gpu.md. Nothing is measured here: bytes are the cost model's, launches those of
`kvbench.engine.fused_step`, and the two rates what an H200 showed.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from kvbench.caches import layout_of, make
from kvbench.costs import forward as costs
from kvbench.costs.layer_map import owners
from kvbench.engine.compile_ahead import FORMATS as STORED
from kvbench.engine.fused_step import FusedStep
from kvbench.models.build import build, config_of
from kvbench.plan.cells import tiny
from kvbench.presets import PRESETS
from kvbench.shape import Shape
from perf.evidence.groups import SHAPES

READ_GB_S = 4330.0  # published/h200-9653dcf/speed.json
BOUNDARY_US = 0.7  # from one kernel to the next of a captured graph, as they overlap on an H200
DEVICE_BYTES = 141e9
DTYPE = "bfloat16"
FORMATS = ("dense", "int8", "fp8_e4m3", "q8_0", "k8v4", "int4", "q4_0")  # of STORED
BATCHES = (1, 16, 64)
DEPTHS = (1000, 4096, 32_768)
NOTHING_FITS = "-"


def shapes() -> dict[str, Shape]:
    """Every preset, and the shapes that the evidence adds, by name: those with a fused step."""
    every = {**PRESETS, **SHAPES}
    return {name: shape for name, shape in every.items() if config_of(shape).unfused is None}


def launches(shape: Shape, batch: int) -> int:
    """Kernels of one step, counted at a small width: widths and the cache's format change none."""

    def count(n_layer: int) -> int:
        model = build({**tiny(shape), "n_layer": n_layer}, dtype=DTYPE, device="meta")
        cache = make("dense", model.config, batch, 64, model.lm_head.weight)
        token, position = (torch.zeros(n, dtype=torch.long, device="meta") for n in (batch, 1))
        return len(FusedStep(model, cache, token[:, None], position).launches)

    one, two = count(1), count(2)
    return one + (shape["n_layer"] - 1) * (two - one)


def step_bytes(shape: Shape, cache: str, batch: int, depth: int) -> int:
    """Compulsory bytes of one step after `depth` cached tokens."""
    kept = layout_of(STORED[cache], costs.head_dim(shape), costs.ITEMSIZE[DTYPE])
    owner = owners("own", shape["n_layer"])
    return costs.forward(shape, owner, DTYPE, batch, depth, 1, kept).bytes


def predicted_us(moved: int, kernels: int) -> float:
    """Microseconds that reading the bytes takes, and stepping from kernel to kernel."""
    return moved / READ_GB_S / 1e3 + kernels * BOUNDARY_US


def rows() -> Iterator[list[str]]:
    """A row per preset, batch and formats of equal bytes: launches, bytes, times at each depth."""
    for name, shape in shapes().items():
        for batch in BATCHES:
            kernels = launches(shape, batch)
            alike: dict[tuple[int, ...], list[str]] = {}
            for cache in FORMATS:
                key = tuple(step_bytes(shape, cache, batch, depth) for depth in DEPTHS)
                alike.setdefault(key, []).append(cache)
            for each, caches in alike.items():
                cells = [f"`{name}`", str(batch), ", ".join(caches), str(kernels)]
                for moved in each:
                    fits = moved < DEVICE_BYTES  # all that is held is read
                    us = predicted_us(moved, kernels)
                    cells += [f"{moved / 1e6:,.0f}", f"{us:,.0f}"] if fits else [NOTHING_FITS] * 2
                yield cells


def markdown() -> str:
    """The table."""
    head = ["preset", "batch", "cache", "launches"]
    head += [f"{depth:,}: {what}" for depth in DEPTHS for what in ("MB", "us")]
    lines = [head, ["---"] * 3 + ["---:"] * (len(head) - 3), *rows()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    print(markdown(), end="")
