"""A yardstick: the same work beside every run of every version, so that a drift cancels.

A shared machine runs at half its speed for seconds at a time, and a process of one version meets
other seconds than a process of another. A reading of the yardstick is a run like the measured one,
prefill and steps, less all that versions change in it: by their own weights and kernels but for Q,
K and V, over one layer of a plain cache. It has to slow down as the runs do; bare products, which
wait for memory more than a step does, were worse. `kvbench.analysis.drift` says what is made of it.

Readings stand between the steps of a generation, and between the runs of a decode cell. Ratios
between versions of one study use them. Times stay as the clock read them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from kvbench.bench.meters.clock import CpuClock
from kvbench.bench.setup import Setup
from kvbench.caches import Cache, causal_sdpa
from kvbench.cell import steps_a_reading
from kvbench.engine.fast_cache import with_native_attention
from kvbench.records.record import Record

Run = Record
STEPS = 16  # of a reading between runs, at most: a longer one tells no more of the machine's pace


class OneLayer:
    """Random K and V (B, n_kv_head, capacity, hs) of one layer, which no version's storage is."""

    def __init__(self, k: Tensor, v: Tensor) -> None:
        self.k, self.v, self.layers, self.length = k, v, [0], 0
        self.rings: dict[int, tuple[int, int]] = {}

    def rows(self, layer: int) -> tuple[Tensor, Tensor, None, None]:
        return self.k, self.v, None, None

    def attend(self, layer: int, q: Tensor) -> Tensor:
        end = self.length + q.size(2)
        return causal_sdpa(q, self.k[:, :, :end], self.v[:, :, :end])

    def advance(self, T: int) -> None:
        self.length += T

    def reset(self) -> None:
        self.length = 0


class Yardstick:
    """Callable: milliseconds of one reading, a prefill (where `prefill`) and `steps` steps."""

    def __init__(self, setup: Setup, steps: int, prefill: bool) -> None:
        self.steps, self.prefill, self.model = steps, prefill, setup.model.decoder()
        self.feed_forwards = [block.mlp for block in setup.model.blocks()]
        config, like = setup.model.config, setup.model.lm_head.weight
        self.depth = min(setup.cell.prompt_length, config.block_size - 1)
        draw = torch.Generator().manual_seed(setup.cell.seed)

        def rows(*shape: int) -> Tensor:
            return torch.randn(setup.cell.batch_size, *shape, generator=draw).to(like.dtype)

        heads, kv_heads, hs, P = config.n_head, config.n_kv_head, config.head_dim, self.depth
        cache = OneLayer(rows(kv_heads, P + 1, hs), rows(kv_heads, P + 1, hs))
        self.cache = with_native_attention(cast(Cache, cache), setup.choice.native)
        self.x, self.q = rows(P, setup.cell.model_config["n_embd"]), rows(heads, P, hs)
        self.one = self.x[:, :1].contiguous(), self.q[:, :, :1].contiguous()

    @torch.inference_mode()
    def __call__(self) -> float:
        began = time.perf_counter_ns()
        self.cache.reset()
        if self.prefill:
            self.forward_without_qkv(self.x, self.q)
        self.cache.advance(self.depth)
        for _ in range(self.steps):
            self.forward_without_qkv(*self.one)
        return (time.perf_counter_ns() - began) / 1e6

    def forward_without_qkv(self, x: Tensor, q: Tensor) -> Tensor:
        """Logits (B, 1, vocab_size) of a forward without its Q, K and V projections.

        x (B, T, C) stands for the embedded tokens; every layer attends to the one layer's K/V with
        q (B, nh, T, hs). The work is most of a forward's, in its order; the logits mean nothing.
        """
        for layer, feed_forward in zip(self.model.layers, self.feed_forwards, strict=True):
            y = self.cache.attend(0, q).transpose(1, 2).flatten(2)  # (B, T, nh * hs)
            x = layer.norm_1(x) + layer.proj(y)
            x = x + feed_forward(layer.norm_2(x))
        return self.model.head(self.model.norm(x[:, -1:]))


class Within:
    """A reading in parts: a prefill before a generation, a step after every few of its own.

    Each part is taken off the generation's clock; `total_ms()` is their sum since `begin()`.
    """

    def __init__(self, setup: Setup) -> None:
        self._prefill, self._step = Yardstick(setup, 0, True), Yardstick(setup, 1, False)
        self._every = steps_a_reading(setup.cell.T)
        self._steps, self._parts_ms = 0, [self._prefill(), self._step()]  # warm

    def begin(self) -> None:
        """A generation is about to begin."""
        self._steps, self._parts_ms = 0, [self._prefill()]

    def after_step(self, clock: CpuClock) -> None:
        """A step of the generation that `clock` times has ended."""
        self._steps += 1
        if self._steps % self._every == 0:
            self._parts_ms.append(clock.aside(self._step))

    def total_ms(self) -> float:
        """Of the generation's reading."""
        return sum(self._parts_ms)


def wanted(setup: Setup) -> bool:
    """Whether a cell's yardstick is read: where the cell asks for it, on a CPU.

    A GPU is not shared while a cell has it.
    """
    return setup.cell.yardstick and setup.device != "cuda"


def runs_with_yardstick(
    setup: Setup, run: Callable[[], Run], steps: int
) -> tuple[list[Run], Record]:
    """The cell's measured runs, and for the record the readings between them, where `wanted`.

    `yardstick_ms` holds one reading from before the first run and one from after each.
    """
    if not wanted(setup):
        setup.begin()
        return [run() for _ in setup.measured_runs()], {}
    Yardstick(setup, 1, False)()  # warm
    read = Yardstick(setup, min(steps, STEPS), False)
    setup.begin()
    runs, readings = [], [read()]
    for _ in setup.measured_runs():
        runs.append(run())
        readings.append(read())
    return runs, {"yardstick_ms": readings}
