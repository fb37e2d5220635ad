"""Memory: the peak while generating T tokens, and what it is made of.

baseline (weights and prompt) + cache + transient = peak. The transient is everything else that was
alive at the peak: activations of the largest forward, its logits, the token buffer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kvbench.bench.meters.peak_memory import peak_meter, tensor_bytes
from kvbench.bench.setup import Setup, ready
from kvbench.caches import Cache
from kvbench.cell import Cell
from kvbench.engine.generate import Pick, extend, generate, overflow_steps
from kvbench.models.base import LanguageModel
from kvbench.records.record import Record


def run(cell: Cell, weights: str | None = None, kernels: str | None = None) -> Record:
    """One memory cell: peaks of prefill and decode apart, over `num_measure_runs` repeats."""
    with ready(cell, weights, kernels) as setup:
        T, prompt_length = cell.T, cell.prompt_length
        if cell.num_warmup_runs:  # a library's one-time buffers belong to no version
            generate(setup.model, setup.prompt, 2, setup.cache(prompt_length + 2))
        setup.begin()
        baseline = setup.weight_bytes + setup.packed_bytes + tensor_bytes([setup.prompt])
        repeats = [one_run(setup, kernels) for _ in setup.measured_runs()]
        worst = max(repeats, key=lambda repeat: repeat["peak_activation_bytes"])
        return setup.record(
            T=T,
            baseline_memory_bytes=baseline,
            weight_bytes=setup.weight_bytes,
            packed_bytes=setup.packed_bytes,
            peak_memory_bytes=baseline + worst["peak_activation_bytes"],
            **worst,
            overflow_steps=overflow_steps(prompt_length, T, cell.model_config["block_size"]),
            accounting=f"{setup.device} allocator",
            repeats=repeats,
        )


def one_run(setup: Setup, library: str | None = None) -> Record:
    """Generate once under the meter. Bytes above the baseline."""
    T = setup.cell.T
    meter = peak_meter(setup.device, library)
    marks = 0

    def mark() -> None:
        nonlocal marks
        marks += 1
        if marks == 3:  # start, prefill's forward, its pick: decode begins here
            meter.split()

    meter.start()
    try:
        cache = setup.cache(setup.prompt.size(1) + T)
        (generate if setup.cell.use_cache else first_and_last)(
            setup.model, setup.prompt, T, cache, setup.pick(), mark
        )
    finally:
        meter.stop()  # a profiler left running would take the process with it
    prefill, decode = meter.peaks
    peak, reserved = max(prefill, decode), cache.reserved_bytes()
    return {
        "peak_activation_bytes": peak,
        "prefill_peak_bytes": prefill,
        "decode_peak_bytes": decode if T > 1 else None,
        "peak_phase": "prefill" if prefill >= decode else "decode",
        "cache_tokens": cache.length,
        "cache_used_bytes": cache.used_bytes(),
        "cache_reserved_bytes": reserved,
        "transient_bytes": peak - reserved,
        **meter.process_bytes,
    }


@torch.inference_mode()
def first_and_last(
    model: LanguageModel, prompt: Tensor, n: int, cache: Cache, pick: Pick, mark: Callable[[], None]
) -> None:
    """The first and the last step of `generate` without a cache; the tokens between are zeros.

    Each step is a forward over one token more and leaves nothing behind: the last has the peak.
    """
    B, start = prompt.shape
    tokens = torch.zeros(B, start + n, dtype=torch.long, device=prompt.device)
    tokens[:, :start] = prompt
    cache.reset()
    mark()
    extend(model, tokens, sorted({start, start + n - 1}), cache, pick, mark)
