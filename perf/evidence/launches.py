"""Kernels that one decode step launches, counted by the profiler in a replay: in all, and a layer.

A layer's are the difference between models of four and of two layers, so that what belongs to none
(embedding, head, the graph's own nodes) is counted apart.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from kvbench.bench.roofline import phase_of
from kvbench.bench.setup import ready
from kvbench.cell import Cell
from kvbench.presets import get_preset
from perf.evidence import groups

LAYERS, SMALL_LAYERS = (2, 4), (1, 2)
VERSIONS = ("v1", "v2", "v4", "v5")
BATCHES = (1, 64)
NAME_LENGTH = 120  # of a kernel: templates are longer


def main(arguments: list[str] | None = None) -> None:
    """Write one row per version, batch and way; print each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args(arguments)
    config = groups.study(given.small)
    asked = [(v, batch, groups.GRAPH) for batch in BATCHES for v in VERSIONS]
    rows = []
    for version, batch, mode in asked[:1] if given.small else [*asked, ("v1", 1, groups.SDPA)]:
        cell = groups.decoding(config, "gpt2", version, mode, batch, 128)
        if given.small:
            rows.append(counted(groups.small(cell), mode, version, SMALL_LAYERS))
        else:
            rows.append(counted(cell, mode, version, LAYERS))
        print({key: value for key, value in rows[-1].items() if key != "kernels"}, flush=True)
        Path(given.file).write_text(json.dumps(rows, indent=1) + "\n")


def counted(cell: Cell, mode: str, version: str, layers: tuple[int, int]) -> dict[str, Any]:
    """Launches of a step by kernel, a layer's and all of gpt2's."""
    few, more = (step_of(cell, n) for n in layers)
    layer = {name: (more[name] - few[name]) / (layers[1] - layers[0]) for name in more}
    a_layer = sum(layer.values())
    n_layer = get_preset("gpt2")["n_layer"]
    return {
        "version": version,
        "mode": mode,
        "batch_size": cell.batch_size,
        "counts": "kernels" if cell.device == "cuda" else "operators of torch",
        "a_layer": a_layer,
        "a_step": few.total() + (n_layer - layers[0]) * a_layer,
        "n_layer": n_layer,
        "kernels": [
            {"name": name, "a_layer": layer[name], f"of_{layers[1]}_layers": more[name]}
            for name in more
        ],
    }


def step_of(cell: Cell, n_layer: int) -> Counter[str]:
    """Launches of one step of a model of so many layers."""
    shared = cell.layer_owner != list(range(len(cell.layer_owner)))
    owner = [layer - layer % 2 if shared else layer for layer in range(n_layer)]
    shape = cell.model_config | {"n_layer": n_layer}
    with ready(cell.replace(model_config=shape, layer_owner=owner), None) as setup:
        step = phase_of(setup, "decode", cell.depth)
        step()
        setup.synchronise()
        return seen(step, setup.device)


def seen(step: Callable[[], Any], device: str) -> Counter[str]:
    """What one call runs on the device, by name; on a CPU the operators of torch."""
    cuda = device == "cuda"
    kind = ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU
    with profile(activities=[kind]) as recorded:
        step()
        if cuda:
            torch.cuda.synchronize()
    events = recorded.profiler.kineto_results.events()
    wanted = DeviceType.CUDA if cuda else DeviceType.CPU
    return Counter(
        event.name()[:NAME_LENGTH]
        for event in events
        if event.device_type() == wanted and (cuda or event.name().startswith("aten::"))
    )


if __name__ == "__main__":
    main()
