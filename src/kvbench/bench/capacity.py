"""Capacity: the largest batch whose weights, cache and transients fit a byte budget.

Predicted first, by a line through two small batches; kernels may ask for scratch that depends on
the batch, so the line is drawn again through the batch that it led to, until it stays. Then one run
on each side of it says whether it is right. Bytes are those that torch's allocator was asked for:
what it takes beyond them on CUDA (rounding, segments, a library's workspace) stands beside them.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from kvbench.bench import vram
from kvbench.bench.meters.peak_memory import tensor_bytes
from kvbench.bench.setup import Setup, ready
from kvbench.cell import Cell
from kvbench.job.log import is_out_of_memory
from kvbench.records.record import Record

PROBES = (2, 4)  # a batch of one sometimes gets by with views where others need copies
MOST = 6  # probes, with those that a line led to


def run(cell: Cell, weights: str | None = None) -> Record:
    """One capacity cell: the predicted batch, its two probes, and both sides of the line."""
    budget = cell.budget_bytes
    with ready(cell.replace(kernel="torch"), weights) as setup:  # nothing outside torch's allocator
        weigh(setup, 1)  # a library's one-time buffers belong to no batch
        setup.begin()
        runs = {batch: weigh(setup, batch) for batch in PROBES}
        probes = [*runs.values()]
        fixed, each = line(probes)
        predicted = largest(budget, fixed, each)
        while predicted > PROBES[-1] and predicted not in runs and len(probes) < MOST:
            runs[predicted] = near = weigh(setup, predicted)
            if near["peak_memory_bytes"] is None:
                break
            probes.append(near)
            fixed, each = line(probes[-2:])
            predicted = largest(budget, fixed, each)
        both = [batch for batch in (predicted, predicted + 1) if batch]
        sides = [dict(runs.get(batch) or weigh(setup, batch)) for batch in both]
        for side in sides:
            side["fits"] = side["peak_memory_bytes"] is not None and (
                side["peak_memory_bytes"] <= budget
            )
        return setup.record(
            T=cell.T,
            budget_bytes=budget,
            weight_bytes=tensor_bytes(setup.model.parameters()),
            predicted_batch=predicted,
            confirmed=all(side["fits"] == (side["batch"] <= predicted) for side in sides),
            bytes_per_sequence=each,
            cache_bytes_per_sequence=probes[0]["cache_reserved_bytes"] // PROBES[0],
            fixed_bytes=fixed,
            probes=probes,
            sides=sides,
            accounting=f"{setup.device} allocator",
        )


def line(probes: list[Record]) -> tuple[float, float]:
    """(bytes at no sequence, bytes of each) of peaks that grow by as much with every sequence."""
    small, large = probes
    each = (large["peak_memory_bytes"] - small["peak_memory_bytes"]) / (
        large["batch"] - small["batch"]
    )
    return small["peak_memory_bytes"] - small["batch"] * each, each


def largest(budget: int, fixed: float, each: float) -> int:
    """The most sequences of `each` bytes beside `fixed` ones in the budget; 0 for none."""
    return max(0, int((budget - fixed) // each))


def weigh(setup: Setup, batch: int) -> Record:
    """The peak of generating T tokens with `batch` sequences; None where memory ran out."""
    shape = (batch, setup.cell.prompt_length)
    prompt = torch.zeros(shape, dtype=torch.long, device=setup.device)
    try:
        found = vram.one_run(replace(setup, prompt=prompt))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return {"batch": batch, "peak_memory_bytes": None, "error": "out of memory"}
    baseline = tensor_bytes([*setup.model.parameters(), prompt])
    return {"batch": batch, "peak_memory_bytes": baseline + found["peak_activation_bytes"], **found}
