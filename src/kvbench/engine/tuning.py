"""Settings of a fused step, chosen by a short measurement of the whole step and kept on disk.

One kind of kernel after another runs with each of its choices, the rest as they are, in a captured
graph over the step's own weights and cache: a kernel alone would be measured with its weights in
L2. What was chosen is kept by device, shape and format, and said in the record.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.runtime.errors import OutOfResources

from kvbench.caches import Cache
from kvbench.engine.fused_step import SITES, FusedStep, Settings
from kvbench.files import write_text
from kvbench.kernels.triton import bound
from kvbench.kernels.triton.bound import AttentionSetting
from kvbench.models.base import LanguageModel

KINDS = {kind.__name__: kind for kind in (AttentionSetting, bound.RowSetting, bound.RowsSetting)}
BLOCKS, BLOCK_MS = 5, 2.0  # replays are timed in this many blocks of about this long
GAIN = 0.995  # a choice takes another's place below this share of its time
COMPILERS = 8  # threads that compile at once


def tuned(
    model: LanguageModel, cache: Cache, token: Tensor, position: Tensor
) -> tuple[FusedStep, dict[str, Any]]:
    """The step at the settings kept for its device and shape, measured now where none are kept.

    Returns it and what a record says of it. `position` is moved to the last row meanwhile and left
    there. On a CPU, and with KVBENCH_TUNE=0 in the environment, nothing is measured; with
    KVBENCH_TUNE=kept neither, but what is kept is taken.
    """

    def build(settings: Settings | None = None) -> FusedStep:
        return FusedStep(model, cache, token, position, settings)

    step = build()
    if not token.is_cuda or os.environ.get("KVBENCH_TUNE") == "0":
        return step, facts(step.settings, "not measured")
    file = folder() / f"{key(step)}.json"
    try:
        kept = json.loads(file.read_text())
        settings = {site: KINDS[kind](**values) for site, (kind, values) in kept.items()}
        return build(settings), facts(settings, "kept")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass  # none kept, or by another version
    if os.environ.get("KVBENCH_TUNE") == "kept":
        return step, facts(step.settings, "not measured")
    position.fill_(cache.capacity - 1)
    step = measure(build, step)
    kept = {site: (type(one).__name__, asdict(one)) for site, one in step.settings.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(kept))
    return step, facts(step.settings, "measured")


def facts(settings: Settings, source: str) -> dict[str, Any]:
    """What a record says of a step's settings."""
    return {"source": source} | {site: asdict(settings[site]) for site in SITES}


def measure(build: Callable[[Settings], FusedStep], step: FusedStep) -> FusedStep:
    """The fastest step that one pass over every kind of kernel finds."""
    compile_all(build, step)
    settings, best = dict(step.settings), replay_us(step)
    for site in SITES:
        for choice in variants(step, site, settings):
            try:
                other = build(settings | {site: choice})
                taken = replay_us(other)
            except (OutOfResources, ValueError):
                continue  # too large for this device, or not of this shape
            if taken < best * GAIN:
                settings, best, step = settings | {site: choice}, taken, other
    return step


def variants(step: FusedStep, site: str, settings: Settings) -> list[Any]:
    """The choices of one site but the one in place; for attention, how it overlaps as well."""
    found = [one for one in step.choices(site) if one != settings[site]]
    if site == "attention":
        found += [
            replace(one, pdl=pdl)
            for one in step.choices(site)
            for pdl in (1, 2)
            if step.pdl and one.stages == 0  # the others were slower so
        ]
    return found


def compile_all(build: Callable[[Settings], FusedStep], step: FusedStep) -> None:
    """Compile every choice's kernels, several at once: the measuring then waits for none."""
    launches: dict[str, bound.Launch] = {}
    for site in SITES:
        for choice in [step.settings[site], *variants(step, site, step.settings)]:
            try:
                for launch in build({site: choice}).launches:
                    name = (launch.kernel, str(launch.constants), launch.warps, launch.pdl)
                    launches.setdefault(str(name), launch)
            except ValueError:
                continue

    compile_together(launches.values())


def compile_together(launches: Iterable[bound.Launch]) -> None:
    """Compile kernels, several at once; one that is too large is met again where it is measured."""

    def one(launch: bound.Launch) -> None:
        with suppress(OutOfResources):
            launch.compile()

    with ThreadPoolExecutor(COMPILERS) as pool:
        list(pool.map(one, launches))


def replay_us(step: Callable[[], Any]) -> float:
    """Median microseconds of one replay of the step as a CUDA graph."""
    graph = capture(step)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def timed(n: int) -> float:
        marks[0].record()
        for _ in range(n):
            graph.replay()
        marks[1].record()
        torch.cuda.synchronize()
        return marks[0].elapsed_time(marks[1]) / n

    timed(1)
    replays = max(1, round(BLOCK_MS / max(1e-3, timed(2))))
    return 1e3 * statistics.median(timed(replays) for _ in range(BLOCKS))


def capture(work: Callable[[], Any]) -> torch.cuda.CUDAGraph:
    """A graph of `work`, which first runs on a side stream, where kernels compile and settle."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), torch.inference_mode():
        work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.inference_mode():
        work()
    return graph


def key(step: FusedStep) -> str:
    """Names a device, a shape, a format, the compiler and the kernels' own text."""
    attention = step.attentions[0]
    layer = step.decoder.layers[0]
    shapes = [tuple(m.weight.shape) for m in (layer.qkv, layer.proj, layer.up, layer.down)]
    named = {
        "device": torch.cuda.get_device_name(step.token.device),
        "triton": triton.__version__,
        "layers": len(step.decoder.layers),
        "weights": [*map(str, shapes), str(tuple(step.decoder.head.weight.shape))],
        "dtype": str(step.decoder.head.weight.dtype),
        "cache": [attention.kv_heads, attention.size],
        "formats": [one.format for one in step.attentions.values()],
        "batch": step.batch,
        "capacity": triton.next_power_of_2(attention.capacity),
        "sources": sources(),
    }
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:24]


def sources() -> str:
    """A digest of the kernels' modules and of the step's."""
    kernels = Path(bound.__file__).parents[1]
    files = [*kernels.rglob("*.py"), Path(__file__).with_name("fused_step.py")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()


def folder() -> Path:
    """Where settings are kept: KVBENCH_SETTINGS, else in the user's cache folder."""
    given = os.environ.get("KVBENCH_SETTINGS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else cache / "kvbench" / "settings"
