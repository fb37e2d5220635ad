"""Cells: what one measuring job is told, as one dict of plain data.

A cell holds its own flags, shape and settings and nothing else, so that it runs again when one of
these changes, and only then. Standard library only; the Snakefile hands cells to jobs as params.
"""

from __future__ import annotations

import random
from pathlib import PurePath
from typing import Any

from kvbench import versions
from kvbench.costs.layer_map import label, owners
from kvbench.job.devices import on_cuda
from kvbench.kernels.cpu.build import has_compiler
from kvbench.peers import PEERS
from kvbench.plan.study import WEIGHT_KINDS, for_preset, shape_of, weights_source

COMMON = ("implementation_name", "dtype", "device", "threads", "seed", "temperature", "top_k")
HOW = ("execution", "kernel")  # as asked for; a record says what ran
RUNS = ("num_warmup_runs", "num_measure_runs")
NAMES = {"latency": "latency_vs_T", "vram": "vram_vs_T"}  # in records, where it is not the rule's
STEPPED = ("decode", "dispatch")  # benchmarks that repeat one decode step at a depth
TINY_HEAD, TINY_VOCABULARY = 32, 64  # a head size that every cache and kernel takes
UPTRAINED = 10  # uptraining has this part of training's steps and learning rates
# name -> delay, a share of each step
CONTROLS = {"v1": 0.0, "v1-again": 0.0, "v1-again2": 0.0, "v1-plus5": 0.05}


def cell(config: dict[str, Any], benchmark: str, preset: str, version: str, **where: Any) -> dict:
    """The cell of one benchmark, preset and version; `where` holds batch, T, P, phase if needed.

    Raises ValueError for an unknown version.
    """
    flags = versions.get_version_config(version)
    shape = shape_of(config, preset)
    source = weights_source(config, preset)
    if benchmark == "dispatch":
        shape, source = tiny(shape), "random"
    description = flags.pop("description")
    del shape["weights"]
    told = {
        **{key: config[key] for key in (*COMMON, *HOW, *RUNS)},
        "benchmark_name": NAMES.get(benchmark, benchmark),
        "prompt_length": config["prompt_length"],
        "version": version,
        "version_description": description,
        **flags,
        "cache": versions.cache_module(version),
        "owner": owners(layer_map(config, version), shape["n_layer"]),
        "preset": preset,
        "model": shape,
        "weights": source if source in WEIGHT_KINDS else "path",
        "batch_size": int(where.get("batch", 1)),
    }
    if benchmark in ("latency", "decode"):
        told["yardstick"] = config["yardstick"]
    if benchmark == "latency":
        told["energy_s"] = config["energy_s"]
    if benchmark in ("latency", "vram", "phase"):
        told["T"] = int(where["T"])
    elif benchmark == "capacity":
        asked = config["capacity"]
        told |= {"T": asked["T"], "budget_bytes": asked["budget_mib"] * 2**20}
    elif benchmark in STEPPED:
        told["depth"] = told["prompt_length"] = int(where["depth"])
        told["steps"] = config["decode"]["steps"]
    elif benchmark == "roofline":
        told |= {"phase": where["phase"], "P": int(where["P"])}
    elif benchmark == "perplexity":
        asked = config["perplexity"]
        context = for_preset(asked["context"], preset) or shape["block_size"]
        told |= {"text": asked["text"], "context": context, "stride": asked["stride"] or context}
        told |= {key: asked[key] for key in ("probes", "prompt", "divergence")}
        told |= {"max_windows": for_preset(asked["max_windows"], preset)}
    return told


def control_study(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration under which the controls are measured: `versions` are v1 and its controls.

    A delay is counted out by the host, so that where CUDA is used v1 is only measured again.
    """
    asked, cuda = config["controls"], on_cuda(config["device"])
    left_out = {name for name, delay in CONTROLS.items() if cuda and delay}
    left_out |= {"v1-again2"} if asked["again"] == 1 else set()
    return config | {
        "versions": [name for name in CONTROLS if name not in left_out],
        "batch_size": asked["batch_size"],
        "T_values": asked["T"],
        "replicates": asked["replicates"],
    }


def control(config: dict[str, Any], preset: str, control: str, **where: Any) -> dict:
    """The latency cell of one control: v1's in all but its name and its delay."""
    delay = CONTROLS[control]
    about = f"v1, every step {delay:.0%} longer" if delay else "v1, measured again"
    told = cell(config, "latency", preset, "v1", **where)
    del told["energy_s"]
    return told | {"version": control, "version_description": about, "delay": delay}


def peer(config: dict[str, Any], preset: str, peer: str, **where: Any) -> dict:
    """The cell of a peer: v1's latency cell under the peer's name, greedy, as every peer is."""
    told = cell(config, "latency", preset, "v1", **where)
    about = {"version": peer, "version_description": PEERS[peer]["description"]}
    told |= about | {"benchmark_name": "peers", "temperature": 0, "top_k": None}
    del told["yardstick"], told["energy_s"]  # a peer's products are not ours: no work is alike
    return told | {"execution": "eager", "kernel": "torch"}  # of v1, whose tokens are compared


def modes(config: dict[str, Any]) -> list[str]:
    """The ways to run a step that target `executions` compares: the study's, or the device's."""
    if config["executions"]:
        return config["executions"]
    if on_cuda(config["device"]):
        return ["eager-torch", "graph-torch", "graph-triton"]
    return ["eager-torch", "eager-native"] if has_compiler() else ["eager-torch", "compile-torch"]


def execution_study(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration under which modes are compared: `versions` are `{mode}/{version}`.

    Of the study's versions those with a cache, at its largest length.
    """
    cached = [v for v in config["versions"] if versions.get_use_cache(v)]
    return config | {
        "versions": [f"{mode}/{version}" for version in cached for mode in modes(config)],
        "T_values": [max(config["T_values"])],
    }


def execution(config: dict[str, Any], preset: str, mode: str, version: str, **where: Any) -> dict:
    """The latency cell of one version, run by one execution and kernel."""
    told = cell(config, "latency", preset, version, **where)
    del told["energy_s"]
    how = dict(zip(HOW, mode.split("-"), strict=True))
    return told | how | {"benchmark_name": "executions", "mode": mode}


def tiny(shape: dict[str, Any]) -> dict[str, Any]:
    """A shape of the same operations, one K/V head wide: what is left of a step is its dispatch.

    As many layers, and as many query heads to a K/V head, so that every call is made as often and
    takes the same path; every weight and every row fits into the nearest caches.
    """
    heads = shape["n_head"] // shape.get("n_kv_head", shape["n_head"])
    small = {"n_head": heads, "n_embd": heads * TINY_HEAD, "vocab_size": TINY_VOCABULARY}
    if "n_kv_head" in shape:
        small["n_kv_head"] = 1
    if "head_dim" in shape:
        small["head_dim"] = TINY_HEAD
    if "n_inner" in shape:
        small["n_inner"] = 4 * small["n_embd"]
    return {**shape, **small}


def run_order(
    config: dict[str, Any], presets: list[str], lengths: list[int] | None = None
) -> dict[tuple[str, ...], int]:
    """Each sample's place in line: (preset, batch, length, replicate, version) -> 0, 1, ...

    `lengths` are depths, or by default the study's T_values. A block is one replicate of one
    (preset, batch, length): every version once, in a seeded shuffle, so that drift of the machine
    hits all versions alike. Blocks of one replicate are shuffled too.
    """
    shuffle = random.Random(config["seed"])
    turns: list[tuple[str, ...]] = []
    for replicate in range(1, config["replicates"] + 1):
        blocks = [
            (preset, str(batch), str(length), str(replicate))
            for preset in presets
            for batch in config["batch_size"]
            for length in (lengths or config["T_values"])
        ]
        shuffle.shuffle(blocks)
        for block in blocks:
            line_up = list(config["versions"])
            shuffle.shuffle(line_up)
            turns += [(*block, version) for version in line_up]
    return {turn: place for place, turn in enumerate(turns)}


def line(config: dict[str, Any]) -> dict[tuple[str, ...], int]:
    """The one line that every timed sample of a study stands in: `turn(...)` -> 1, 2, ..."""
    presets, depths = config["pretrained"], config["decode"]["depths"]
    alone, controls = config | {"batch_size": [1]}, control_study(config)
    beside = config | {"versions": [*config["versions"], *config["peers"]]}  # in the same blocks
    turns = [
        *(("latency", *key) for key in run_order(beside, presets)),
        *(("execution", *key) for key in run_order(execution_study(config), presets)),
        *(("decode", *key) for key in run_order(config, presets, depths)),
        *(("dispatch", *key) for key in run_order(alone, presets, depths)),
        *(("control", *key) for key in run_order(controls, presets)),
    ]
    return {key: place for place, key in enumerate(turns, start=1)}


def turn(preset: str, batch: str, replicate: str, **where: str) -> tuple[str, ...]:
    """A sample's key in the line, from the wildcards of its path."""
    if "mode" in where:
        name = f"{where['mode']}/{where['version']}"
        return ("execution", preset, batch, where["T"], replicate, name)
    kind = "control" if "control" in where else where.get("stepped", "latency")
    length = where["depth"] if kind in STEPPED else where["T"]
    return (
        kind,
        preset,
        batch,
        length,
        replicate,
        where.get("control") or where.get("peer") or where["version"],
    )


def measuring_threads(config: dict[str, Any], cores: int) -> int:
    """The cores a measuring job claims, of a run's `cores`.

    All of them, so that no two overlap; with several CUDA devices, the share of one device, so that
    as many run at once as there are devices.
    """
    several = len(config["devices"]) if on_cuda(config["device"]) else 1
    return max(1, cores // several)


def layer_map(config: dict[str, Any], version: str) -> str | list[int]:
    """The layer map of a version in this study: its own, or what `layer_maps` names instead."""
    return config["layer_maps"].get(version) or versions.layer_map(version)


def weights_file(config: dict[str, Any], preset: str, version: str = "v1") -> str:
    """The safetensors file a cell reads: v1's, or what was made of it for the version's layer map.

    Random weights have nothing to fit, so that every version reads the same ones.
    """
    source = weights_source(config, preset)
    name = {
        "random": f"random-{config['seed']}",
        "trained": f"trained-{config['nano']['steps']}-{config['seed']}",
    }.get(source, source)
    own = f"resources/weights/{preset}/{name}.safetensors" if source in WEIGHT_KINDS else source
    variant = versions.weights_variant(version)
    if variant is None or source == "random":
        return own
    fitted = f"{PurePath(own).stem}.{variant}-{label(layer_map(config, version))}"
    return f"resources/weights/{preset}/{fitted}.safetensors"


def training_job(config: dict[str, Any], variant: str, shared: str) -> dict[str, Any]:
    """How nano is trained with the layer map `shared` (as `layermaps.label` writes it).

    `shared` from scratch, as nano itself; `uptrained` goes on from nano's own weights, with a tenth
    of the steps and of the learning rates.
    """
    shape, nano = shape_of(config, "nano"), dict(config["nano"])
    if variant == "uptrained":
        nano |= {key: max(1, nano[key] // UPTRAINED) for key in ("steps", "warmup_steps")}
        nano |= {key: nano[key] / UPTRAINED for key in ("muon_lr", "adamw_lr")}
    layers = owners(shared, shape["n_layer"])
    return {"shape": shape, **nano, "seed": config["seed"], "layer_map": layers}
