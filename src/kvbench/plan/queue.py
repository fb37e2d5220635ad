"""The order in which timed samples run: interleaved over versions, so that drift hits all alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypedDict

from kvbench.plan.cells import study_of
from kvbench.plan.config_types import Config

Key = tuple[str, ...]  # (benchmark, preset, batch, T, depth or phase, replicate, version)


class Blocks(TypedDict):
    """What a configuration says of the samples of one benchmark."""

    seed: int
    replicates: int
    versions: list[str]
    batch_size: list[int]
    T_values: list[int]


def run_order(
    config: Blocks, presets: list[str], lengths: Sequence[int | str] = ()
) -> dict[tuple[str, ...], int]:
    """Each sample's position: (preset, batch, length, replicate, version) -> 0, 1, ...

    `lengths` are depths or phases, or by default the study's T_values. A block is one replicate of
    one (preset, batch, length): every version once, in a seeded shuffle, so that drift of the
    machine hits all versions alike. Blocks of one replicate are shuffled too.
    """
    shuffle = random.Random(config["seed"])
    keys: list[tuple[str, ...]] = []
    for replicate in range(1, config["replicates"] + 1):
        blocks = [
            (preset, str(batch), str(length), str(replicate))
            for preset in presets
            for batch in config["batch_size"]
            for length in (lengths or config["T_values"])
        ]
        shuffle.shuffle(blocks)
        for block in blocks:
            shuffled = list(config["versions"])
            shuffle.shuffle(shuffled)
            keys += [(*block, version) for version in shuffled]
    return {key: position for position, key in enumerate(keys)}


def sample_queue(config: Config) -> dict[Key, int]:
    """The position of every timed sample of a study: `queue_key(...)` -> 1, 2, ...

    Peers run in the same blocks as the versions they are compared with.
    """
    presets, depths = config["pretrained"], config["decode"]["depths"]
    with_peers = config | {"versions": [*config["versions"], *config["peers"]]}
    executions = study_of(config, "executions")
    points = study_of(config, "roofline") | {"batch_size": config["roofline"]["batch_sizes"]}
    phases = [_of_phase(name, config["roofline"]["P"]) for name in config["roofline"]["phases"]]
    ways = [f"{mode}/{v}" for v in executions["versions"] for mode in executions["modes"]]
    orders = {
        "latency": run_order(with_peers, presets),
        "executions": run_order(executions | {"versions": ways}, presets),
        "decode": run_order(study_of(config, "decode"), presets, depths),
        "dispatch": run_order(study_of(config, "dispatch"), presets, depths),
        "controls": run_order(study_of(config, "controls"), presets),
        "roofline": run_order(points, presets, phases),
    }
    keys = [(benchmark, *key) for benchmark, order in orders.items() for key in order]
    return {key: position for position, key in enumerate(keys, start=1)}


def queue_key(
    benchmark: str, preset: str, batch: str, replicate: str = "1", **where: str
) -> tuple[str, ...]:
    """A sample's key in the queue, from the wildcards of its path."""
    names = (where.get(name) for name in ("mode", "control", "peer", "version"))
    length = where.get("depth") or where.get("T") or _of_phase(where["phase"], where["P"])
    block = "latency" if benchmark == "peers" else benchmark
    return (block, preset, batch, length, replicate, "/".join(name for name in names if name))


def _of_phase(phase: str, P: int | str) -> str:
    """What stands for the length in a roofline sample's key."""
    return f"{phase} {P}"
