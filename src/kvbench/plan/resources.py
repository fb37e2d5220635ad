"""What a measuring job asks of a scheduler: memory and time, from its place in the study.

Generous bounds, not forecasts: a job that asks for too little is killed, one that asks for too much
waits a little longer. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping

from kvbench.costs import forward as costs
from kvbench.costs.layout import equal_rows
from kvbench.plan.config_types import Config
from kvbench.plan.study import shape_of, uses_cuda
from kvbench.shape import Shape

BASE_MB = 2_000  # the interpreter with torch; on CUDA, its context
BASE_MINUTES = 10  # starting, loading, compiling
FLOP_S, BYTES_S = 5e9, 2e9  # of one slow core
SAFETY = 3
ENERGY = 2  # loops that watch a counter of energy, where there is one
YARDSTICK_STEPS = 1  # readings of the yardstick per step, each at most as long as a step


def gpus(config: Config) -> int:
    """GPUs a measuring job needs to itself."""
    return int(uses_cuda(config))


def measuring_threads(config: Config, cores: int) -> int:
    """The cores a measuring job claims, of a run's `cores`.

    All of them, so that no two overlap; with several CUDA devices, the share of one device, so that
    as many run at once as there are devices.
    """
    several = len(config["devices"]) if uses_cuda(config) else 1
    return max(1, cores // several)


def slurm_extra(config: Config) -> str:
    """Further options of sbatch: a job timed on the CPU has its node to itself."""
    return "" if uses_cuda(config) else "--exclusive"


def memory_mb(config: Config, where: Mapping[str, str]) -> int:
    """Host memory in MB: weights as read and as held, K and V of every layer, one forward's rest.

    The rest is its largest part: logits, or the activations of a feed-forward, in float32.
    """
    shape, batch, tokens = _place(config, where)
    owner, size = range(shape["n_layer"]), costs.ITEMSIZE[config["dtype"]]
    weights = costs.weight_bytes(shape, owner, "float32") + costs.weight_bytes(
        shape, owner, config["dtype"]
    )
    row = equal_rows(costs.head_dim(shape) * size)
    cache = costs.kept_bytes(shape, owner, batch, row, tokens)
    widest = max(shape["vocab_size"], 8 * shape["n_embd"])
    return BASE_MB + SAFETY * (weights + cache + 4 * batch * tokens * widest) // 10**6


def minutes(config: Config, where: Mapping[str, str]) -> int:
    """Wall time: every run's steps, each as long as the last, none faster than one slow core."""
    shape, batch, tokens = _place(config, where)
    steps = int(where.get("T") or config["decode"]["steps"])
    owner, row = range(shape["n_layer"]), costs.head_dim(shape) * costs.ITEMSIZE[config["dtype"]]
    window = min(tokens, shape["block_size"])
    model = (shape, owner, config["dtype"], batch)
    if where.get("version") == "v0":
        each = costs.forward(*model, 0, window, None)
    else:
        each = costs.forward(*model, window - 1, 1, row)
    first = costs.forward(*model, 0, window, None)
    runs = config["num_warmup_runs"] + config["num_measure_runs"]
    seconds = SAFETY * runs * (_seconds(first) + (1 + YARDSTICK_STEPS) * steps * _seconds(each))
    return BASE_MINUTES + int((seconds + ENERGY * config["energy_s"]) / 60)


def _place(config: Config, where: Mapping[str, str]) -> tuple[Shape, int, int]:
    """Shape, batch and the most tokens that a job's wildcards stand for."""
    shape = shape_of(config, where.get("preset", config["pretrained"][0]))
    lengths = [where.get(key) for key in ("T", "P", "depth")]
    tokens = config["prompt_length"] + max([int(n) for n in lengths if n] or [shape["block_size"]])
    return shape, int(where.get("batch", 1)), tokens


def _seconds(cost: costs.Cost) -> float:
    return cost.flop / FLOP_S + cost.bytes / BYTES_S
