"""Decode attention alone, at every setting worth measuring: batch 64, depth 1000, GPT-2's heads.

Over several caches in turn, as a step goes from layer to layer, so that none stays in L2.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from triton.runtime.errors import OutOfResources

from kvbench.caches import layout_of, make
from kvbench.engine.compile_ahead import FORMATS
from kvbench.engine.static_view import kernel_rows
from kvbench.engine.tuning import compile_together, replay_us
from kvbench.job import devices
from kvbench.kernels.triton.bound import Attention, Launch
from kvbench.models.gpt2 import Config

CACHES = ("dense", "int8", "int4", "k8v4", "fp8_e4m3", "q8_0")
LAYERS = 4
GPT2 = {"n_head": 12, "n_embd": 768}
BATCH, DEPTH = 64, 1000


def main(arguments: list[str] | None = None) -> None:
    """Add a line per format: the fastest setting, its time, the bytes of K and V."""
    parser = argparse.ArgumentParser()
    parser.add_argument("step", help="the name of this process's block")
    parser.add_argument("file", help="JSON lines")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args(arguments)
    device, batch, depth = ("cpu", 1, 2) if given.small else ("cuda", BATCH, DEPTH)
    size: dict[str, Any] = {"n_head": 1, "n_embd": 32} if given.small else GPT2
    with devices.device_lock(device):
        for name in CACHES:
            line = {"step": given.step, "group": "attention", "name": name}
            line |= measured(name, Config(n_layer=LAYERS, **size), batch, depth, device)
            with open(given.file, "a") as file:
                file.write(json.dumps(line) + "\n")
            print({key: line[key] for key in ("name", "us", "setting")}, flush=True)


@torch.inference_mode()
def measured(name: str, config: Config, batch: int, depth: int, device: str) -> dict[str, Any]:
    """The fastest of the settings: microseconds of one attention, its setting, its bytes.

    K and V are read for `depth` tokens and the new one, which is written.
    """
    like = torch.zeros(1, dtype=torch.bfloat16, device=device)
    cache = make(FORMATS[name], config, batch, depth + 1, like)
    rows = torch.randn(batch, config.n_head, depth, config.head_dim, device=device).type_as(like)
    for layer in range(LAYERS):
        cache.update(layer, rows, rows)
    stored = [kernel_rows(cache, layer) for layer in range(LAYERS)]
    attentions = [
        Attention(config.n_head, *rows, blocks=blocks, turned=turned)
        for rows, blocks, turned in stored
    ]
    qkv = torch.randn(batch, attentions[0].width, device=device)
    out = torch.empty(batch, config.n_embd, dtype=like.dtype, device=device)
    position = torch.full((1,), depth, device=device)
    settings = attentions[0].choices()[: None if device == "cuda" else 1]
    found = [
        [one.launch(qkv, position, out, setting) for one in attentions] for setting in settings
    ]
    if device == "cuda":
        compile_together(launches[0] for launches in found)
    times: list[tuple[float, dict[str, Any]]] = []
    for setting, launches in zip(settings, found, strict=True):

        def every(launches: list[Launch] = launches) -> None:
            for launch in launches:
                launch()

        try:
            us = replay_us(every) if device == "cuda" else by_the_wall_us(every)
        except OutOfResources:
            continue  # too large a tile for this device
        times.append((us / LAYERS, asdict(setting)))
    us, fastest = min(times, key=lambda one: one[0])
    kept = layout_of(FORMATS[name], config.head_dim, like.itemsize)
    moved = batch * config.n_head * (kept.bytes(depth + 1) + kept.row)
    return {"us": us, "setting": fastest, "bytes": moved, "batch_size": batch, "depth": depth}


def by_the_wall_us(work: Callable[[], None]) -> float:
    """Microseconds of one call."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e6


if __name__ == "__main__":
    main()
