"""The resolved configuration, typed: what `kvbench.plan.config.resolve` gives.

Keys and values are those of config/schema.yaml, which says what each is; lists where it allows one
value or several. A test holds the two equal. Standard library only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from kvbench.shape import Shape

LayerMap = str | list[int]
PerPreset = int | dict[str, int] | None  # one value, or by preset


class ModelConfig(TypedDict):
    """The shape of preset `custom`."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    vocab_size: int
    dropout: float
    bias: bool
    activation: str | None


class Decode(TypedDict):
    """Benchmark `decode`."""

    batch_size: list[int] | None
    replicates: int | None
    versions: list[str] | None
    depths: list[int]
    steps: int


class Stopping(TypedDict):
    """When no further round is measured."""

    half_width: float | None
    minutes: float | None
    most: int


class Controls(TypedDict):
    """Target `controls`."""

    batch_size: list[int]
    T: list[int]
    again: int
    replicates: int


class Capacity(TypedDict):
    """Target `capacity`."""

    budget_mib: int
    T: int


class Compare(TypedDict):
    """Target `compare`."""

    baseline: str | None
    margin: float
    allow: list[str]


class Divergence(TypedDict):
    """Greedy continuations of the perplexity benchmark."""

    prompts: int
    prompt_tokens: int
    tokens: int


class Perplexity(TypedDict):
    """Benchmark `perplexity`."""

    presets: list[str]
    text: str
    split: str
    context: PerPreset
    stride: int | None
    max_windows: PerPreset
    prompt: str
    probes: int
    divergence: Divergence


class Retrieval(TypedDict):
    """Benchmark `retrieval`."""

    lengths: list[int]
    items: int


class Quality(TypedDict):
    """Margins of the quality gates."""

    max_ppl_ratio: float | None
    max_kl: float | None
    max_flips: float | None
    max_retrieval_lost: float | None


class Nano(TypedDict):
    """How nano is trained."""

    steps: int
    batch_tokens: int
    muon_lr: float
    adamw_lr: float
    warmup_steps: int


class Roofline(TypedDict):
    """Benchmark `roofline`."""

    P: int
    source: str
    csv_dir: str | None
    batch_sizes: list[int]
    phases: list[str]
    replicates: int | None


class Model(TypedDict):
    """A model that the configuration names by where it lies."""

    shape: Shape
    tokenizer: str | None  # its file
    path: str
    revision: NotRequired[str]  # commit of a model of the hub


class Config(TypedDict):
    """A whole configuration. `models` and `modes` are worked out, the rest is the schema's."""

    study: str
    implementation_name: str
    benchmarks: list[str]
    versions: list[str]
    caches: dict[str, str]
    pretrained: list[str]
    model_config: ModelConfig
    weights: str | dict[str, str]
    dtype: str
    batch_size: list[int]
    prompt_length: int
    T_values: list[int]
    T_star: int
    decode: Decode
    temperature: float
    top_k: int | None
    device: str
    devices: list[int]
    threads: int
    execution: str
    kernel: str
    process: str
    num_warmup_runs: int
    num_measure_runs: int
    run_budget_s: float | None
    replicates: int
    stopping: Stopping
    yardstick: bool
    energy_s: float
    margin: float
    peers: list[str]
    executions: list[str]
    controls: Controls
    capacity: Capacity
    compare: Compare
    seed: int
    layer_maps: dict[str, LayerMap]
    perplexity: Perplexity
    retrieval: Retrieval
    quality: Quality
    nano: Nano
    roofline: Roofline
    log_file: str
    models: dict[str, Model]
    modes: NotRequired[list[str]]  # what target `executions` compares
