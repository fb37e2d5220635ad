"""The types of records: every key, what it means, and what it may be.

Times are milliseconds and sizes bytes. A record may have keys that are not named here. A key that
may be absent is `Maybe` of its type.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

Value = TypeVar("Value")
Maybe: TypeAlias = Value | UnsetType
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")] | None


def doc(text: str) -> Meta:
    """What a key means, for the schema and docs/records.md."""
    return Meta(description=text)


class Provenance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: Annotated[Digest, doc("of the six parts")]
    code: Annotated[Digest, doc("of the files that the rule declared")]
    config: Annotated[Digest, doc("of the cell")]
    weights: Annotated[Digest, doc("of the tensors")]
    data: Annotated[Digest, doc("of texts and other inputs")]
    environment: Annotated[Digest, doc("of Python, libraries and system")]
    device: Annotated[Digest, doc("of processor and GPU")]


class ModelConfig(Struct, frozen=True, kw_only=True):
    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    vocab_size: int


class PartFormat(Struct, frozen=True, kw_only=True):
    type: str


class CacheLayout(Struct, frozen=True, kw_only=True):
    row: int


class CacheFormat(Struct, frozen=True, kw_only=True):
    keys: PartFormat
    values: PartFormat


class KernelSettings(Struct, frozen=True, kw_only=True):
    source: str


class SdpaBackend(Struct, frozen=True, kw_only=True):
    prefill: Maybe[str] = UNSET
    decode: Maybe[str] = UNSET


class MachineState(Struct, frozen=True, kw_only=True):
    began_at: Annotated[str, doc("UTC")]
    measured_s: Annotated[
        Maybe[Amount], doc("seconds from the end of the warm-up to that of the last run")
    ] = UNSET
    boot_id: Annotated[
        Maybe[str | None],
        doc("of the machine's run since it was started; null where none is known"),
    ] = UNSET
    load_before: Annotated[Amount, doc("processes ready to run, over a minute")]
    load_after: Annotated[Amount, doc("likewise, at the end")]
    cpu_share: Annotated[
        float,
        doc("CPU time over wall time and threads; below 0.95 on a CPU the sample is disturbed"),
    ]
    involuntary_switches: Annotated[Count, doc("times that it was sent off a core")]
    throttled: Annotated[
        dict[str, int | None],
        doc(
            "counted meanwhile, by kind: `thermal` and `quota` events of the CPU, `gpu` "
            "microseconds below its clock for power or heat; null where the machine shows none"
        ),
    ]
    disturbed: Annotated[bool, doc("whether there is a sign")]
    disturbed_by: Annotated[
        list[Literal["share", "switches", "load", "throttled"]], doc("which signs")
    ]


class Record(Struct, frozen=True, kw_only=True):
    schema_version: Annotated[Literal[2], doc("version of this schema")]
    complete: Annotated[
        bool, doc("true, the mark of a whole record"), Meta(extra_json_schema={"const": True})
    ]
    implementation_name: Annotated[Maybe[str], doc("label of the implementation")] = UNSET
    benchmark_name: Annotated[str, doc("what was measured: a name of the sections below")]
    version: Annotated[str, doc("version of the registry, or a control")]
    version_description: Annotated[Maybe[str], doc("what the version is")] = UNSET
    use_cache: Annotated[Maybe[bool], doc("whether K and V are kept")] = UNSET
    kv_cache_quant: Annotated[Maybe[bool], doc("whether they are stored as integers")] = UNSET
    cross_layer_sharing: Annotated[Maybe[bool], doc("whether layers read another layer's")] = UNSET
    cache: Annotated[
        Maybe[str],
        doc("what their storage is called: a format or module, or a file or module from outside"),
    ] = UNSET
    cache_format: Annotated[
        Maybe[CacheFormat | None],
        doc("the storage as a description (docs/caches.md); null where it has none"),
    ] = UNSET
    pretrained: Annotated[str, doc("preset")]
    model_config: Annotated[ModelConfig, doc("the preset's shape and two flags of the version")]
    weights: Annotated[str, doc("where the parameters come from: random, trained, hub, gguf, path")]
    weights_revision: Annotated[
        Maybe[str], doc("commit of the hub's repository that they are of; absent for others")
    ] = UNSET
    weights_variant: Annotated[
        Maybe[str | None],
        doc(
            "how weights were fitted to shared K/V: `shared`, `uptrained`, `calibrated`, `copied`; "
            "null for v1's own"
        ),
    ] = UNSET
    dtype: Annotated[Literal["float32", "bfloat16", "float16"], doc("of weights and activations")]
    batch_size: Annotated[Positive, doc("sequences")]
    prompt_length: Annotated[
        Maybe[Positive], doc("tokens of the prompt; in decode and dispatch the depth")
    ] = UNSET
    seed: Annotated[Count, doc("of prompts, random weights and sampling")]
    provenance: Annotated[
        Provenance,
        doc(
            "what the record comes from, a digest per part and of them all; null for a part that a "
            "job has none of"
        ),
    ]

    def __post_init__(self) -> None:
        if not self.complete:
            raise ValueError("the record is not complete")


class Failed(Record, frozen=True, kw_only=True):
    error: Annotated[str, doc("why: `out of memory` or `not measured`")]
    error_detail: Annotated[Maybe[str], doc("the first line of the error")] = UNSET


class Measured(Record, frozen=True, kw_only=True):
    threads: Annotated[Positive, doc("torch threads")]
    device: Annotated[str, doc("cpu or cuda")]
    gpu_name: Annotated[str | None, doc("CUDA device")]
    gpu_total_vram: Annotated[Maybe[int | None], doc("its memory, bytes")] = UNSET
    device_name: Annotated[str, doc("the GPU's name, or the processor's")]
    cpu_name: Annotated[str, doc("processor")]
    cpu_count: Annotated[Maybe[int | None], doc("cores of the machine")] = UNSET
    cpu_capability: Annotated[str, doc("vector instructions that torch uses")]
    affinity: Annotated[Maybe[int], doc("cores this process may use")] = UNSET
    governor: Annotated[Maybe[str | None], doc("frequency governor, where readable")] = UNSET
    system: Annotated[str, doc("operating system")]
    python_version: Annotated[str, doc("Python")]
    python_environment: Annotated[Maybe[str], doc("folder of that Python's environment")] = UNSET
    isolated: Annotated[Maybe[bool], doc("whether Snakemake made that environment for the job")] = (
        UNSET
    )
    forked: Annotated[
        Maybe[bool], doc("whether the process is a fork of one that had imported torch")
    ] = UNSET
    pytorch_version: Annotated[str, doc("torch")]
    cuda_version: Annotated[Maybe[str | None], doc("CUDA of torch")] = UNSET
    libraries: Annotated[dict[str, str | None], doc("versions of further libraries")]
    commit: Annotated[
        str | None, doc("commit of the source tree, `-dirty` with local changes; null outside git")
    ]
    layer_owner: Annotated[list[Count], doc("the layer whose K/V each layer reads")]
    cache_bytes_per_token: Annotated[
        Maybe[Amount],
        doc(
            "bytes one token of one sequence adds to the cache, scales included; their mean where "
            "tokens differ"
        ),
    ] = UNSET
    cache_layout: Annotated[
        Maybe[CacheLayout], doc("bytes of a token's K and V in one head, and when they change")
    ] = UNSET
    execution: Annotated[str, doc("what really ran: eager, step, graph or compile")]
    kernel: Annotated[str, doc("kernels in use: torch, native or triton")]
    decode_attention: Annotated[
        Maybe[str | None],
        doc(
            "whose kernels computed a decode step's attention: torch, where a cache does not give "
            "its rows to the kernels in use; null where no step reads a cache"
        ),
    ] = UNSET
    decode_kernels: Annotated[
        Maybe[dict[str, str] | None],
        doc(
            "of `keys` and of `values`: whose kernels read them in a decode step, and the format, "
            "as `native int8`; null where no step reads a cache, or its format is not described"
        ),
    ] = UNSET
    sdpa_backend: Annotated[
        Maybe[SdpaBackend | None],
        doc(
            "the backend that torch's scaled_dot_product_attention takes for the cell's `prefill` "
            "and `decode` shapes, wherever the cell calls it; null where that is not known"
        ),
    ] = UNSET
    memory_reserved_bytes: Annotated[
        Maybe[Count],
        doc("on CUDA: what the allocator held of the device at the end, whatever the benchmark"),
    ] = UNSET
    graph_pool_bytes: Annotated[
        Maybe[Count],
        doc(
            "on CUDA: of these, pools that captured graphs keep; memory cells run eagerly and have "
            "none"
        ),
    ] = UNSET
    kernel_settings: Annotated[
        Maybe[KernelSettings],
        doc(
            "on CUDA, of Triton's kernels: `source` (measured now, kept from an earlier run, or "
            "not measured) and the settings of each kind of kernel"
        ),
    ] = UNSET
    tune_s: Annotated[
        Maybe[Amount], doc("seconds that choosing these settings took, before anything was timed")
    ] = UNSET
    machine_state: Annotated[
        Maybe[MachineState],
        doc(
            "what happened to the process while it measured; `disturbed_by` names the signs: "
            "share, switches, load, throttled"
        ),
    ] = UNSET
