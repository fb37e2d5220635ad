"""A yardstick: the same work beside every run of every version, so that a drift cancels.

A shared machine runs at half its speed for seconds at a time, and a process of one version meets
other seconds than a process of another. One pass of the yardstick multiplies a row per sequence by
every weight that all versions multiply alike, with the kernels that they run: each block's MLP and
the head, most of a decode step. Passes run before the first run and after each, and a run divided
by the passes on both its sides keeps what the version costs and loses most of what the machine did
meanwhile: a ratio estimate with the yardstick as its auxiliary variable (Cochran 1977, chapter 6).

Only ratios between versions of one study use it. Times stay as the clock read them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from kvbench.bench.setup import Setup

PASSES = 2  # per step of a run: from half to one and a half times as long as the run


class Yardstick:
    """Callable: milliseconds of one pass, over as many as belong to a run of `steps` steps."""

    def __init__(self, setup: Setup, steps: int) -> None:
        self.modules = setup.model.alike()
        self.passes = PASSES * steps
        like, width = setup.model.lm_head, setup.cell["model"]["n_embd"]
        draw = torch.Generator().manual_seed(setup.cell["seed"])
        rows = torch.randn(setup.cell["batch_size"], 1, width, generator=draw)
        self.rows = rows.to(like.weight.dtype)

    @torch.inference_mode()
    def __call__(self) -> float:
        began = time.perf_counter_ns()
        for _ in range(self.passes):
            for module in self.modules:
                module(self.rows)
        return (time.perf_counter_ns() - began) / 1e6 / self.passes


def beside(
    setup: Setup, steps: int, run: Callable[[], dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The cell's measured runs, of `steps` steps each, and for the record what stood beside them.

    `yardstick` holds one reading (ms a pass) from before the first run and one from after each.
    Nothing where the cell asks for none, and on CUDA, which no other process uses meanwhile.
    """
    n = setup.cell["num_measure_runs"]
    if not setup.cell.get("yardstick") or setup.device == "cuda":
        setup.begin()
        return [run() for _ in range(n)], {}
    yardstick = Yardstick(setup, steps)
    yardstick()  # warm
    setup.begin()
    runs, readings = [], [yardstick()]
    for _ in range(n):
        runs.append(run())
        readings.append(yardstick())
    return runs, {"yardstick": {"passes": yardstick.passes, "pass_ms": readings}}
