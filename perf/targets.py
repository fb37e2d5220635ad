"""How fast this must be, as data: one line per target, each a ratio of two things run in turn.

`reach` is what has to be shown, or `share` of the bound, which is what physics allows (None: worked
out from the bytes where it is measured, or there is none). `by` is the function that measures it, `settings` what it is given.
Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

BF16, FP32 = "bfloat16", "float32"
WIDE = 4096  # beyond GPT-2's context: the position table is made wider
AT_LEAST, AT_MOST, EXACTLY = "at least", "at most", "exactly"


@dataclass(frozen=True)
class Target:
    """One row. Each of `processes` fresh processes runs both sides in turn, for `seconds`."""

    what: str
    reach: float | None
    by: str
    settings: dict[str, Any]
    bound: float | None = None
    sense: str = AT_LEAST
    unit: str = "x"
    processes: int = 5
    share: float | None = None  # of the bound, in place of `reach`


def _step(dtype: str = BF16, batch: int = 1, depth: int = 32, **rest: Any) -> dict[str, Any]:
    return {"preset": "gpt2", "dtype": dtype, "batches": [batch], "depths": [depth], **rest}


def _full(version: str, dtype: str = BF16, **rest: Any) -> dict[str, Any]:
    return _step(dtype, 16, 1023, version=version, **rest)  # the step attends to 1024


def _deep(version: str, dtype: str = BF16) -> dict[str, Any]:
    return _step(dtype, 16, WIDE, version=version)


def _grid(version: str, dtype: str = BF16) -> dict[str, Any]:
    return _step(dtype, version=version) | {"batches": [1, 4, 16], "depths": [32, 256, 1000]}


def _cuda(batch: int = 1, depth: int = 32, **rest: Any) -> dict[str, Any]:
    return _step(BF16, batch, depth, device="cuda", **rest)


TARGETS: dict[str, Target] = {
    "transformers-bf16":  Target("v1 over transformers' dynamic cache, bfloat16", None, "others.peer", _step(peer="transformers-dynamic"), processes=3, share=0.85),
    "transformers-fp32":  Target("v1 over transformers' dynamic cache, float32", None, "others.peer", _step(dtype=FP32, peer="transformers-dynamic"), processes=3, share=0.85),
    "eager-bf16":         Target("v1 over its own eager step, bfloat16", None, "steps.over_eager", _step(), share=0.85),
    "eager-fp32":         Target("v1 over its own eager step, float32", 1.0, "steps.over_eager", _step(dtype=FP32)),
    "llama-d32":          Target("v1 over llama.cpp, f16 cache, depth 32", 1.1, "others.peer", _step(peer="llama.cpp")),
    "llama-d900":         Target("v1 over llama.cpp, f16 cache, depth 900", 1.1, "others.peer", _step(depth=900, peer="llama.cpp")),
    "llama-q8-d900":      Target("v2 over llama.cpp, q8_0 cache, depth 900", 1.5, "others.peer", _step(depth=900, version="v2", peer="llama.cpp-q8_0")),
    "bandwidth-bf16":     Target("v1's bytes a second over the read bandwidth, bfloat16", 0.85, "steps.bandwidth", _step(), 1.0),
    "bandwidth-qwen3-bf16": Target("v1's bytes a second over the read bandwidth, Qwen3-0.6B, bfloat16", 0.8, "steps.bandwidth", _step(preset="qwen3-0.6b"), 1.0),
    "static-cache-qwen3-bf16": Target("v1 over transformers' static cache, Qwen3-0.6B, bfloat16", 2.0, "others.peer", _step(peer="transformers-static", preset="qwen3-0.6b"), processes=3),
    "bandwidth-fp32":     Target("v1's bytes a second over the read bandwidth, float32", 0.85, "steps.bandwidth", _step(dtype=FP32), 1.0),
    "int8-bf16":          Target("v2 over v1 at its worst batch and depth, bfloat16", 0.98, "steps.over_v1", _grid("v2"), processes=3),
    "int8-fp32":          Target("v2 over v1 at its worst batch and depth, float32", 0.98, "steps.over_v1", _grid("v2", FP32), processes=3),
    "int8-b16-bf16":      Target("v2 over v1, batch 16, depth 1024, bfloat16", None, "steps.over_v1", _full("v2"), share=0.9),
    "int8-b16-fp32":      Target("v2 over v1, batch 16, depth 1024, float32", None, "steps.over_v1", _full("v2", FP32), share=0.9),
    "int4-b16-fp32":      Target("v5 over v1, batch 16, depth 1024, float32", None, "steps.over_v1", _full("v5", FP32), processes=3),
    "int8-b16-deep-bf16": Target("v2 over v1, batch 16, depth 4096, bfloat16", None, "steps.over_v1", _deep("v2"), processes=3, share=0.9),
    "int8-b16-deep-fp32": Target("v2 over v1, batch 16, depth 4096, float32", None, "steps.over_v1", _deep("v2", FP32), processes=3, share=0.9),
    "both-medium-bf16":   Target("v4 over v1, gpt2-medium, batch 16, depth 1024, bfloat16", None, "steps.over_v1", _full("v4", preset="gpt2-medium"), processes=3, share=0.9),
    "both-medium-fp32":   Target("v4 over v1, gpt2-medium, batch 16, depth 1024, float32", None, "steps.over_v1", _full("v4", FP32, preset="gpt2-medium"), processes=3, share=0.9),
    "both-deep-bf16":     Target("v4 over v1, batch 16, depth 4096, bfloat16", None, "steps.over_v1", _deep("v4"), processes=3, share=0.9),
    "both-deep-fp32":     Target("v4 over v1, batch 16, depth 4096, float32", None, "steps.over_v1", _deep("v4", FP32), processes=3, share=0.9),
    "attention-fp32":     Target("INT8 decode attention over torch's fused attention, float32", None, "attention.over_sdpa", _step(dtype=FP32, batch=4, depth=1024)),
    "attention-bf16":     Target("INT8 decode attention over torch's fused attention, bfloat16", None, "attention.over_sdpa", _step(batch=4, depth=1024)),
    "attention-int8":     Target("bytes a second of INT8 decode attention over the read bandwidth", 0.85, "attention.bandwidth", _step(dtype=FP32, batch=16, depth=1024), 1.0),
    "no-compiler-bf16":   Target("v1 without a compiler over its own eager step, bfloat16", 1.0, "steps.over_eager", _step(compiler=False)),
    "no-compiler-fp32":   Target("v1 without a compiler over its own eager step, float32", 1.0, "steps.over_eager", _step(dtype=FP32, compiler=False)),
    "cache-bytes":        Target("bytes of the caches' storages over the closed form, v1-v4", 1.0, "accounts.cache_bytes", _step(batch=2, depth=128), 1.0, EXACTLY, processes=1),
    "memory-account":     Target("a generation under the memory account over a plain one", 1.05, "accounts.memory", _step(dtype=FP32), 1.0, AT_MOST),
    "phases":             Target("sum of the phases over the plain run", 0.97, "accounts.phases", _step(dtype=FP32), 1.0),
    "gpu-graph":          Target("gpt2 in a CUDA graph over eager torch, batch 1", 6.0, "steps.over_eager", _cuda()),
    "gpu-bandwidth":      Target("v1's bytes a second over the read bandwidth, gpt2-xl, batch 1", 0.6, "steps.bandwidth", _cuda(preset="gpt2-xl"), 1.0),
    "gpu-int8":           Target("v2 over v1, gpt2, batch 64, depth 1000", 1.45, "steps.over_v1", _cuda(batch=64, depth=1000, version="v2"), 1.74),
    "cell":               Target("a cell's wall time that is not measuring, gpt2", 3.0, "running.cell", {"preset": "gpt2", "dtype": FP32}, None, AT_MOST, "s"),
    "plan-1000":          Target("planning 1,000 cells", None, "running.plan", {"cells": 1_000}, None, AT_MOST, "s", 3),
    "plan-10000":         Target("planning 10,000 cells", 20.0, "running.plan", {"cells": 10_000}, None, AT_MOST, "s", 3),
    "nothing-to-do":      Target("`all` of the default study with nothing to do", 4.0, "running.nothing", {}, None, AT_MOST, "s", 3),
}  # fmt: skip

SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 64, "block_size": 96, "vocab_size": 101}
SMALL: dict[str, Any] = {"batches": 2, "depths": 24, "cells": 10}


def small(target: Target) -> Target:
    """The same row at a size that takes moments: the real path, a number that means nothing."""
    settings = dict(target.settings)
    for key, most in SMALL.items():
        if isinstance(settings.get(key), list):
            settings[key] = sorted({min(most, value) for value in settings[key]})
        elif key in settings:
            settings[key] = min(most, settings[key])
    if "preset" in settings:
        settings |= {"preset": "custom", "shape": SHAPE}
    return replace(target, settings=settings | {"seconds": 0.0}, processes=min(2, target.processes))
