"""Cells: what one measuring job is given, in the words of its record. Standard library only.

A cell holds its version's flags, its model's shape and its benchmark's settings and nothing else,
so that it runs again when one of these changes, and only then. `kvbench.plan.cells` makes cells; a
rule hands one to its job as plain data (`param`), and the job reads it back (`of`).
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from kvbench.files import Json
from kvbench.shape import Shape

# Where a cell lies in its benchmark.
AXES = ("T", "depth", "phase", "P", "mode", "delay", "text", "context")
PHASES = ("prefill", "decode")
EXECUTIONS = ("auto", "eager", "step", "graph", "compile")  # as a study asks
KERNELS = ("auto", "native", "triton", "torch")
FLAGS = ("use_cache", "kv_cache_quant", "cross_layer_sharing")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell. A setting that its benchmark does not take keeps its default here."""

    implementation_name: str
    benchmark: str  # module of kvbench.bench
    benchmark_name: str  # in the record
    version: str
    version_description: str
    use_cache: bool
    kv_cache_quant: bool
    cross_layer_sharing: bool
    cache: str  # what the storage is called; where it has no description, what is loaded
    layer_owner: list[int]  # of each layer: the layer whose K and V it reads
    pretrained: str  # preset
    model_config: Shape
    weights: str  # random, trained, hub, gguf or path
    dtype: str
    device: str  # auto, cpu or cuda
    threads: int
    execution: str  # as the study asks; a record says what ran
    kernel: str
    batch_size: int
    prompt_length: int
    seed: int
    temperature: float
    top_k: int | None
    num_warmup_runs: int
    num_measure_runs: int
    process: str = "auto"  # fresh: not a fork of `kvbench.job.fork_server`
    run_budget_s: float | None = None  # measured runs end with the one in which it is over

    timed: bool = True  # an untimed job shares the CPU with others like it
    whole_steps: bool = False  # whole steps are timed: they may be captured or compiled
    weights_variant: str | None = None  # how weights were fitted to the layer map
    weights_revision: str | None = None  # commit of a model of the hub
    cache_format: Json = field(default_factory=dict)  # description of the cache
    fold: str | None = None  # rotation of kvbench.models.rotation
    T: int = 0  # tokens generated
    depth: int = 0  # tokens in the cache
    steps: int = 0  # decode steps of one run
    phase: str = ""  # prefill or decode
    P: int = 0  # tokens of the prefill, or depth of the decode step
    yardstick: bool = False
    energy_s: float = 0.0  # for which runs are repeated under an energy counter; 0 for none
    delay: float | None = None  # share by which a control's steps are longer
    mode: str = ""  # {execution}-{kernel} of target `executions`
    budget_bytes: int = 0
    text: str = ""
    context: int = 0
    stride: int = 0
    max_windows: int | None = None
    prompt: str = ""  # quantised or exact
    probes: int = 0
    lengths: list[int] = field(default_factory=list)  # tokens of retrieval tasks
    items: int = 0  # of each task and length
    divergence: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, param: Json) -> Cell:
        """The cell that `param` was made of. Raises TypeError, naming a field it does not have."""
        return cls(**param)

    def param(self) -> Json:
        """Plain data; without the settings that the cell's benchmark does not take."""
        values = {f.name: (getattr(self, f.name), _default(f)) for f in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    def replace(self, **changes: Any) -> Cell:
        """The same cell with other settings."""
        return replace(self, **changes)

    @property
    def storage(self) -> str | Json:
        """What `kvbench.caches.make` makes the cache of."""
        return self.cache_format or self.cache

    def axes(self) -> Json:
        """Where the cell lies in its benchmark."""
        param = self.param()
        return {key: param[key] for key in AXES if key in param}

    def header(self) -> Json:
        """The head of the cell's record, whether measured, counted or failed."""
        shape = {key: value for key, value in self.model_config.items() if key != "weights"}
        quantised = {key: getattr(self, key) for key in FLAGS[1:]}
        return {
            "implementation_name": self.implementation_name,
            "dtype": self.dtype,
            "model_config": shape | quantised,
            "pretrained": self.pretrained,
            "prompt_length": self.prompt_length,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "benchmark_name": self.benchmark_name,
            "version": self.version,
            "version_description": self.version_description,
            **{flag: getattr(self, flag) for flag in FLAGS},
            "weights": self.weights,
            "weights_variant": self.weights_variant,
            **({"weights_revision": self.weights_revision} if self.weights_revision else {}),
            "cache": self.cache,
            "cache_format": self.cache_format or None,
            "layer_owner": self.layer_owner,
        }

    def failure(self, error: str, detail: str) -> Json:
        """The record of a cell without a measurement: why, in a few words and in one line."""
        line = detail.partition("\n")[0]
        return {**self.header(), **self.axes(), "error": error, "error_detail": line}

    def max_cached_tokens(self) -> int:
        """The most tokens that the cell's cache holds."""
        if self.context:
            return self.context - 1
        if self.lengths:
            return max(self.lengths)
        if self.P:
            return self.P + 1
        reached = self.depth or self.prompt_length + self.T - 1
        return min(reached, int(self.model_config["block_size"]))


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def steps_a_reading(T: int) -> int:
    """Steps of a generation of T tokens from one reading of the yardstick within it to the next.

    Four, fewer where that left less than 32 readings: a machine's pace changes within a second.
    """
    return min(4, max(1, T // 32))
