"""Cells: what one measuring job is told, as one dict of plain data.

A cell holds its own flags, shape and settings and nothing else, so that it runs again when one of
these changes, and only then. Standard library only; the Snakefile hands cells to jobs as params.
"""

from __future__ import annotations

import random
from typing import Any

from kvbench import versions
from kvbench.config import shape_of, weights_source
from kvbench.layermaps import owners
from kvbench.machine import has_cuda_driver

COMMON = ("implementation_name", "dtype", "device", "threads", "seed", "temperature", "top_k")
RUNS = ("num_warmup_runs", "num_measure_runs")
NAMES = {"latency": "latency_vs_T", "vram": "vram_vs_T"}  # in records, where it is not the rule's
CONTROLS = {"v1": 0.0, "v1-again": 0.0, "v1-plus5": 0.05}  # name -> delay, a share of each step


def cell(config: dict[str, Any], benchmark: str, preset: str, version: str, **where: Any) -> dict:
    """The cell of one benchmark, preset and version; `where` holds batch, T, P, phase if needed.

    Raises ValueError for an unknown version.
    """
    flags = versions.get_version_config(version)
    shape = shape_of(config, preset)
    source = weights_source(config, preset)
    description = flags.pop("description")
    del shape["weights"]
    told = {
        **{key: config[key] for key in (*COMMON, *RUNS)},
        "benchmark_name": NAMES.get(benchmark, benchmark),
        "prompt_length": config["prompt_length"],
        "version": version,
        "version_description": description,
        **flags,
        "cache": versions.cache_module(version),
        "owner": owners(versions.layer_map(version), shape["n_layer"]),
        "preset": preset,
        "model": shape,
        "weights": source if source in ("random", "hub", "trained") else "path",
        "batch_size": int(where.get("batch", 1)),
    }
    if benchmark in ("latency", "vram", "phase"):
        told["T"] = int(where["T"])
    elif benchmark == "roofline":
        told |= {"phase": where["phase"], "P": int(where["P"])}
    elif benchmark == "perplexity":
        asked = config["perplexity"]
        context = asked["context"] or shape["block_size"]
        told |= {"text": asked["text"], "context": context, "stride": asked["stride"] or context}
        told |= {"max_windows": asked["max_windows"]}
    return told


def control_study(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration under which the controls are measured: `versions` are v1 and its controls.

    A delay is counted out by the host, so that where CUDA is used v1 is only measured again.
    """
    asked, device = config["controls"], config["device"]
    cuda = device == "cuda" or (device == "auto" and has_cuda_driver())
    return config | {
        "versions": [name for name, delay in CONTROLS.items() if not (cuda and delay)],
        "batch_size": [asked["batch_size"]],
        "T_values": [asked["T"]],
        "replicates": asked["replicates"],
    }


def control(config: dict[str, Any], preset: str, control: str, **where: Any) -> dict:
    """The latency cell of one control: v1's in all but its name and its delay."""
    delay = CONTROLS[control]
    about = f"v1, every step {delay:.0%} longer" if delay else "v1, measured again"
    told = cell(config, "latency", preset, "v1", **where)
    return told | {"version": control, "version_description": about, "delay": delay}


def run_order(config: dict[str, Any], presets: list[str]) -> dict[tuple[str, ...], int]:
    """Each latency sample's place in line: (preset, batch, T, replicate, version) -> 0, 1, ...

    A block is one replicate of one (preset, batch, T): every version once, in a seeded shuffle, so
    that drift of the machine hits all versions alike. Blocks of one replicate are shuffled too.
    """
    shuffle = random.Random(config["seed"])
    turns: list[tuple[str, ...]] = []
    for replicate in range(1, config["replicates"] + 1):
        blocks = [
            (preset, str(batch), str(T), str(replicate))
            for preset in presets
            for batch in config["batch_size"]
            for T in config["T_values"]
        ]
        shuffle.shuffle(blocks)
        for block in blocks:
            line_up = list(config["versions"])
            shuffle.shuffle(line_up)
            turns += [(*block, version) for version in line_up]
    return {turn: place for place, turn in enumerate(turns)}


def weights_file(config: dict[str, Any], preset: str) -> str:
    """The safetensors file a cell of this preset reads."""
    source = weights_source(config, preset)
    if source == "random":
        source = f"random-{config['seed']}"
    elif source == "trained":
        source = f"trained-{config['nano']['steps']}-{config['seed']}"
    elif source != "hub":
        return source
    return f"resources/weights/{preset}/{source}.safetensors"
