"""What every benchmark does before it measures: a model, a prompt, a cache, the record's frame.

A `Cell` is what a measuring job is given: flags, shape and settings.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kvbench.bench.meters import machine
from kvbench.bench.meters.peak_memory import reserved, tensor_bytes
from kvbench.caches import Cache, layout_of, sdpa_backend
from kvbench.cell import Cell
from kvbench.costs.description import Description
from kvbench.costs.forward import ITEMSIZE, head_dim, kept_bytes, weight_bytes
from kvbench.engine.backend import NATIVE_STEP, PLAIN, Choice, settle
from kvbench.engine.fast_cache import decode_kernel, with_fast_attention
from kvbench.engine.generate import Pick, Sampler, generate, greedy
from kvbench.engine.packed_linear import copied_bytes, pack
from kvbench.job import devices
from kvbench.job.memory import check_memory
from kvbench.models.base import LanguageModel
from kvbench.models.build import build
from kvbench.records.record import Record

if TYPE_CHECKING:
    from kvbench.engine.static_step import StaticStep

Runner = Callable[[Callable[[], None], int], Tensor]


@dataclass
class Setup:
    """A cell made ready to run on its device."""

    cell: Cell
    device: str
    model: LanguageModel
    prompt: Tensor  # (batch_size, prompt_length) token ids
    choice: Choice
    weight_bytes: int  # of the parameters as the model defines them
    packed_bytes: int  # what the kernels' layout adds to them
    held: devices.Held
    watch: machine.Watch
    prepared_s: dict[str, float] = field(default_factory=dict)  # tuning, compiling, capturing
    decode_attention: str | None = None  # whose kernels; None where no step reads a cache
    kernel_settings: Record | None = None  # of Triton's kernels, where they run the step

    def begin(self) -> None:
        """Warm-up is over: what happens to the process from now on belongs to the measurement."""
        self.watch = machine.Watch(self.device, self.cell.threads)

    def cache(self, tokens: int, batch: int | None = None) -> Cache:
        """The version's cache, empty, with room for `tokens` tokens."""
        cache = self.model.cache_of(self.cell.storage, batch or len(self.prompt), tokens)
        cache = with_fast_attention(cache, self.choice)
        if self.choice.execution == "step":
            assert self.choice.native is not None
            bind = import_module(NATIVE_STEP).bind
            if reason := bind(self.model, cache, self.choice.native):
                self.choice = replace(self.choice, execution="eager", reason=reason)
        self.decode_attention = decode_kernel(cache) if self.cell.use_cache else None
        return cache

    def pick(self) -> Pick:
        """The cell's sampling rule: greedy at temperature 0, else seeded."""
        if self.cell.temperature == 0:
            return greedy
        return Sampler(self.cell.temperature, self.cell.top_k, self.cell.seed)

    def measured_runs(self, enough_s: float = math.inf) -> Iterator[int]:
        """Counts the measured runs: `num_measure_runs`, fewer where `run_budget_s` is over.

        Of a budget no more than `enough_s` is used.
        """
        began, budget = time.perf_counter(), self.cell.run_budget_s
        budget = None if budget is None else min(budget, enough_s)
        for number in range(self.cell.num_measure_runs):
            if number and budget is not None and time.perf_counter() - began >= budget:
                return
            yield number

    def runner(self, most: int) -> Runner:
        """What generates up to `most` tokens after the prompt, again and again: `run(mark, T)`."""
        cache, pick = self.cache(self.prompt.size(1) + most), self.pick()
        if self.choice.static:
            step = self.step(cache, pick)
            return lambda mark, T: step.generate(self.prompt, T, mark)
        return lambda mark, T: generate(self.model, self.prompt, T, cache, self.pick(), mark)

    def step(self, cache: Cache, pick: Pick | None = None) -> StaticStep:
        """The decode step over `cache` as this cell runs it: captured, compiled or as it is."""
        from kvbench.engine.static_step import StaticStep

        step = StaticStep(self.model, cache, pick, self.choice.execution, self.choice.kernel)
        self.decode_attention = self.choice.kernel
        self.prepared_s = step.prepared_s
        self.kernel_settings = step.settings
        return step

    def synchronise(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def sdpa(self) -> dict[str, str]:
        """The backend of torch's fused attention for the cell's prefill, and for a decode step."""
        config, like = self.model.config, self.model.lm_head.weight
        S = self.cell.max_cached_tokens()

        def rows(heads: int, T: int) -> Tensor:
            shape = (1, heads, T, config.head_dim)
            return torch.empty(shape, dtype=like.dtype, device=like.device)

        # The step of one shape for every depth reads the whole capacity, under a mask.
        masked = self.choice.static and self.choice.kernel == "torch"
        mask = torch.zeros(1, S, dtype=like.dtype, device=like.device) if masked else None
        T = min(self.prompt.size(1), S)
        prefill = sdpa_backend(rows(config.n_head, T), rows(config.n_kv_head, T))
        step = sdpa_backend(rows(config.n_head, 1), rows(config.n_kv_head, S), mask)
        return {"prefill": prefill, "decode": step}

    def record(self, **results: Any) -> Record:
        """The record: the cell's header, the machine, what ran, then the results."""
        return {
            **self.cell.header(),
            **machine.facts(self.device),
            **cache_bytes(self.cell),
            **self.choice.facts(),
            "decode_attention": self.decode_attention,
            "decode_kernels": decode_kernels(self.cell, self.decode_attention),
            "sdpa_backend": self.sdpa(),
            **self.prepared_s,
            **({"kernel_settings": self.kernel_settings} if self.kernel_settings else {}),
            **reserved(self.device),
            **results,
            "machine_state": {**self.watch.report(), **self.held.facts()},
        }


def decode_kernels(cell: Cell, kernel: str | None) -> dict[str, str] | None:
    """Whose kernels read keys, and values, in a decode step, and in which format.

    None where no step reads a cache, or its format is not described.
    """
    if kernel is None or not (cell.cache_format or cell.cache == "dense"):
        return None
    described = Description.of(cell.cache_format)
    layers = ", ".join(map(str, described.dense_layers))
    apart = f"; dense in layers {layers}" if layers else ""
    parts = {"keys": described.keys, "values": described.values}
    return {name: f"{kernel} {part.word()}{apart}" for name, part in parts.items()}


def cache_bytes(cell: Cell) -> Record:
    """Cache bytes per token of one sequence, scales and all, as filled as the cell fills it.

    Where tokens differ in bytes this is their mean, to the byte; `cache_layout` says the rest.
    """
    shape, tokens = cell.model_config, cell.max_cached_tokens()
    layout = layout_of(cell.storage, head_dim(shape), ITEMSIZE[cell.dtype])
    per_token = round(kept_bytes(shape, cell.layer_owner, 1, layout, tokens) / tokens)
    return {"cache_bytes_per_token": per_token, "cache_layout": asdict(layout)}


def least_bytes(cell: Cell) -> tuple[int, int]:
    """Bytes of a cell's weights, and of its cache as filled as the cell fills it."""
    shape, owner = cell.model_config, cell.layer_owner
    kept = layout_of(cell.storage, head_dim(shape), ITEMSIZE[cell.dtype])
    cache = kept_bytes(shape, owner, cell.batch_size, kept, cell.max_cached_tokens())
    return weight_bytes(shape, owner, cell.dtype), cache


@contextmanager
def ready(cell: Cell, weights: str | None, kernels: str | None = None) -> Iterator[Setup]:
    """Settle device and kernels, hold the device's lock, load the model, draw the seeded prompt.

    `kernels` is the native kernels' library. Cells that are not timed run torch's own operators and
    share a CPU; a GPU's memory is one cell's at a time.
    """
    device = machine.use_device(cell.device, cell.threads)
    choice = settle(cell, device, kernels) if cell.timed else PLAIN
    with devices.device_lock(device, shared=not cell.timed and device == "cpu") as held:
        torch.manual_seed(cell.seed)
        if device == "cpu":
            check_memory(*least_bytes(cell))
        model = build(
            cell.model_config, cell.layer_owner, cell.dtype, weights, cell.seed, device, cell.fold
        )
        weighed = tensor_bytes(model.parameters())
        pack(model, choice)
        packed = tensor_bytes(model.parameters()) + copied_bytes(model) - weighed
        draw = torch.Generator().manual_seed(cell.seed)
        shape = (cell.batch_size, cell.prompt_length)
        prompt = torch.randint(cell.model_config["vocab_size"], shape, generator=draw)
        watch = machine.Watch(device, cell.threads)
        yield Setup(cell, device, model, prompt.to(device), choice, weighed, packed, held, watch)
