"""The decode step as one fixed piece of work: run as it is, compiled, or as a captured CUDA graph.

Token, position and cache stay at their addresses and nothing depends on the depth, so the step that
a graph replays is the very code that runs here without one. The prefill is eager, and so is what
follows block_size, where the window slides and every step is a prefill.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

import torch
from torch import Tensor

from kvbench.caches import Cache
from kvbench.engine.generate import Pick, Sampler, extend, no_mark
from kvbench.engine.static_view import StaticView
from kvbench.models.base import LanguageModel

WARMUPS = 3  # runs before a capture: libraries and Triton settle what they allocate and choose


class StaticStep:
    """One decode step of `model` over `cache`: `step()` goes one token on.

    token (B, 1) is what the next step is given. With `pick`, a step picks the next token and moves
    on; without, it leaves everything in place, so that it can be repeated at one depth. `execution`
    is eager, graph (CUDA) or compile; `kernel` torch, for the model's own forward, or triton
    (`fused_step`). `prepared_s` is what tuning, compiling and capturing took. A step that is
    prepared over a filled cache leaves its rows alone but the last, which no step reads unwritten.
    """

    def __init__(
        self,
        model: LanguageModel,
        cache: Cache,
        pick: Pick | None,
        execution: str = "eager",
        kernel: str = "torch",
    ) -> None:
        self.model, self.cache, self.pick = model, cache, pick
        self.position = torch.zeros(1, dtype=torch.long, device=cache.device)
        self.token = torch.zeros(cache.batch, 1, dtype=torch.long, device=cache.device)
        shape = cache.batch, cache.capacity + 1
        self.tokens = torch.zeros(shape, dtype=torch.long, device=cache.device)
        self.logits = torch.empty(0)
        self.prepared_s: dict[str, float] = {}
        self.settings: dict[str, Any] | None = None  # of Triton's kernels, for the record
        self._run: Callable[[], None] = self._once
        self._forward: Callable[[Tensor], Tensor]
        with torch.inference_mode():
            if kernel == "triton":
                self._timed("tune_s", self._fuse)
            else:
                self.view = StaticView(cache, model.config.n_head, self.position)
                self._forward = lambda token: model(token, cast(Cache, self.view))
            if execution == "compile":
                self._timed("compile_s", self._compile)
            if execution != "eager" and cache.device.type == "cuda":
                self._timed("capture_s", self._capture)

    def begin(self, token: Tensor, length: int) -> None:
        """The next step is given `token` (B, 1), which follows `length` cached tokens."""
        self.token.copy_(token)
        self.position.fill_(length)

    def __call__(self) -> None:
        """One step; waits for nothing."""
        self._run()

    @torch.inference_mode()
    def generate(self, prompt: Tensor, n: int, mark: Callable[[], None] = no_mark) -> Tensor:
        """As `kvbench.engine.generate`, with the same marks; a step's pick is within the step."""
        block_size, (B, start) = self.model.config.block_size, prompt.shape
        first = start + min(n, 1)  # where decoding begins
        last = max(first, min(start + n, block_size + 1))  # and where the window slides
        tokens = torch.empty(B, start + n, dtype=torch.long, device=prompt.device)
        tokens[:, :start] = prompt
        if isinstance(self.pick, Sampler):
            self.pick.restart()
        pick = cast(Pick, self.pick)
        self.cache.reset()
        mark()
        extend(self.model, tokens, range(start, first), self.cache, pick, mark)
        self.begin(tokens[:, first - 1 : first], self.cache.length)
        for _ in range(first, last):
            self()
            mark()
            mark()
        self.cache.advance(last - first)
        tokens[:, first:last] = self.tokens[:, first:last]
        extend(self.model, tokens, range(last, start + n), self.cache, pick, mark)
        return tokens

    @torch.inference_mode()
    def _once(self) -> None:
        logits = self._forward(self.token)
        if self.pick is None:
            self.logits = logits
            return
        self.token.copy_(self.pick(logits[:, -1]))
        self.position.add_(1)
        self.tokens.index_copy_(1, self.position, self.token)

    def _fuse(self) -> None:
        tuning = import_module("kvbench.engine.tuning")  # by name: code of CUDA devices alone
        step, self.settings = tuning.tuned(self.model, self.cache, self.token, self.position)
        self._forward = lambda token: step()

    def _compile(self) -> None:
        # Only the forward: a seeded generator is no tensor, and picking costs little.
        self._forward = torch.compile(self._forward, fullgraph=True, dynamic=False)
        self._once()

    def _capture(self) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARMUPS):
                self.position.fill_(self.cache.capacity - 1)
                self._once()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        if isinstance(self.pick, Sampler):
            graph.register_generator_state(self.pick.generator(self.cache.device))
        with torch.cuda.graph(graph):
            self._once()
        self._run = graph.replay

    def _timed(self, name: str, work: Callable[[], None]) -> None:
        began = time.perf_counter()
        work()
        self.prepared_s[name] = time.perf_counter() - began
