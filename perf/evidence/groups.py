"""Which cells the evidence measures, by group, and what each is at a size that takes moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kvbench.cell import Cell
from kvbench.costs.layer_map import owners
from kvbench.plan import cells, weight_paths
from kvbench.plan.config import load_schema, resolve
from kvbench.plan.config_types import Config
from kvbench.presets import get_preset
from kvbench.shape import Shape

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
QWEN = get_preset("qwen3-0.6b")
del QWEN["qk_norm"]  # which no fused step computes
SHAPES = {"qwen3-0.6b": QWEN}  # in place of the registry's
GRAPH, SDPA, EAGER = "graph-triton", "graph-torch", "eager-torch"
DEEP = 32_768

Group = Callable[[Config], Iterator[Cell]]


def study(small: bool) -> Config:
    """The configuration of the evidence; of a rehearsal, on whatever device there is."""
    return resolve(
        {key: STUDY[key] for key in STUDY if not (small and key == "device")}, load_schema()
    )


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


def shape_of(preset: str) -> Shape:
    """The shape of a preset of SHAPES or of the registry, as a copy."""
    return SHAPES[preset].copy() if preset in SHAPES else get_preset(preset)


def decoding(config: Config, preset: str, version: str, mode: str, batch: int, depth: int) -> Cell:
    """A decode cell of a preset."""
    cell = cells.cell(config, "decode", "gpt2", version, batch=batch, depth=depth)
    shape = shape_of(preset)
    shape.pop("weights", None)
    owner = owners(weight_paths.layer_map(config, version), shape["n_layer"])
    execution, kernel = mode.split("-")
    return cell.replace(
        pretrained=preset, model_config=shape, layer_owner=owner, execution=execution, kernel=kernel
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
