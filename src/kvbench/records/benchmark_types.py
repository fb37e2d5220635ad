"""The type of each benchmark's records, by the name they call it: `TYPES`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct

from kvbench.records.timed_types import Decode, Latency, Phase, Roofline
from kvbench.records.types import (
    Amount,
    Count,
    Maybe,
    Measured,
    Positive,
    doc,
)


class Memory(Measured, frozen=True, kw_only=True):
    T: Annotated[Positive, doc("tokens generated")]
    weight_bytes: Annotated[Count, doc("parameters")]
    baseline_memory_bytes: Annotated[Count, doc("parameters and prompt")]
    peak_memory_bytes: Annotated[Count, doc("baseline + cache_reserved + transient")]
    peak_activation_bytes: Annotated[
        Count, doc("peak above the baseline: the larger of the two below")
    ]
    prefill_peak_bytes: Annotated[Count, doc("during the prefill")]
    decode_peak_bytes: Annotated[int | None, doc("during the decode steps; null where T is 1")]
    peak_phase: Annotated[Phase, doc("which of them is the peak")]
    cache_tokens: Annotated[int | None, doc("tokens held at the end")]
    cache_used_bytes: Annotated[Count, doc("the closed form of cache_layout for cache_tokens")]
    cache_reserved_bytes: Annotated[Count, doc("bytes of the cache's storages")]
    peak_allocated_bytes: Annotated[
        Maybe[Count],
        doc(
            "on CUDA: blocks that the allocator gave for what was asked, rounded up, all of the "
            "process's"
        ),
    ] = UNSET
    peak_reserved_bytes: Annotated[
        Maybe[Count], doc("on CUDA: segments that it took from the device for them")
    ] = UNSET
    transient_bytes: Annotated[
        int, doc("all else alive at the peak: activations, logits, token buffer")
    ]
    overflow_steps: Annotated[Count, doc("steps past block_size, where the window slid")]
    accounting: Annotated[str, doc("whose bytes these are")]
    repeats: Annotated[list[Any], Meta(min_length=1), doc("each run's bytes")]


class PhaseTimes(Measured, frozen=True, kw_only=True):
    T: Annotated[Positive, doc("tokens generated")]
    time_phase_ms: Annotated[
        dict[str, float],
        Meta(extra_json_schema={"required": ["total"]}),
        doc("milliseconds by phase, and the `total`"),
    ]
    plain_total_ms: Annotated[Amount, doc("the same generation without instruments")]
    instrumented_ratio: Annotated[
        Amount, doc("instrumentation overhead: instrumented over plain time")
    ]
    overflow_steps: Annotated[Count, doc("steps past block_size, where the window slid")]
    runs: Annotated[list[Any], Meta(min_length=1), doc("each instrumented run")]
    plain_runs_ms: Annotated[list[Amount], doc("each plain run")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if "total" not in self.time_phase_ms:
            raise ValueError("time_phase_ms lacks `total`")


class Modes(Struct, frozen=True, kw_only=True):
    teacher_forced: dict[str, float]
    cached: dict[str, float]


class Perplexity(Measured, frozen=True, kw_only=True):
    text: Annotated[str, doc("what was scored")]
    context: Annotated[int, Meta(ge=2), doc("tokens of one window")]
    stride: Annotated[Positive, doc("tokens between windows")]
    prompt: Annotated[
        Maybe[Literal["quantised", "exact"]],
        doc("whether a window's unscored first tokens attend to what the cache kept"),
    ] = UNSET
    prefix_tokens: Annotated[
        Maybe[list[int]],
        doc("ids that every window begins with, as the model's tokenizer adds them: BOS, or none"),
    ] = UNSET
    n_windows: Annotated[Positive, doc("windows scored")]
    n_tokens: Annotated[Positive, doc("tokens scored")]
    n_bytes: Annotated[Positive, doc("bytes of text they stand for")]
    loss: Annotated[float, doc("nats per token, through the cache")]
    perplexity: Annotated[float, doc("exp(loss)")]
    bits_per_byte: Annotated[float, doc("loss per byte of text, base 2")]
    modes: Annotated[
        Modes, doc("loss, perplexity and bits per byte of `teacher_forced` and `cached`")
    ]
    degradation: Annotated[Maybe[float], doc("change of perplexity against v1, per cent")] = UNSET
    paired: Annotated[
        Maybe[dict[str, Any]],
        doc(
            "against v1, window by window: `delta_nll` and `kl` in nats a token, "
            "`perplexity_ratio`, `flips` (share of tokens whose top guess is another) and "
            "`delta_p` (root mean square change of the right token's probability), with 95 % "
            "intervals over documents, or blocks of windows where there are few; `kl` also has "
            "median, p95, p99, p99_9 and max over tokens, null where too few lie beyond; "
            "`top1_agreement`, a share"
        ),
    ] = UNSET
    noise_floor: Annotated[
        Maybe[dict[str, Any]],
        doc(
            "of v1 alone: the same of v1 against itself, some windows fed whole through a fused "
            "attention kernel, and in two forwards through plain operators"
        ),
    ] = UNSET
    corrupted: Annotated[
        Maybe[dict[str, Any]],
        doc(
            "second halves of a few windows after what the cache stored of the first halves was "
            "reversed: `perplexity_ratio`, `kl` and `flips` against v1, null for no finite number"
        ),
    ] = UNSET
    divergence: Annotated[
        Maybe[dict[str, Any]],
        doc(
            "`first`: for each prompt, greedy tokens before the first that differs from v1's, null "
            "where none of `tokens` does"
        ),
    ] = UNSET
    probes: Annotated[
        Maybe[dict[str, Any]],
        doc(
            "accuracy and log-probability of copy, induction and needle, `plain` as v1 and "
            "`cached`, with every sequence's"
        ),
    ] = UNSET
    by_depth: Annotated[
        Maybe[dict[str, Any]],
        doc("delta NLL and KL by tokens before it in the window, means over bins"),
    ] = UNSET
    by_layer: Annotated[
        Maybe[dict[str, Any]],
        doc("`attention_error`: relative error of each layer's attention output, first to last"),
    ] = UNSET
    window_tokens: Annotated[Maybe[list[int]], doc("tokens scored in each window")] = UNSET
    window_document: Annotated[
        Maybe[list[int]],
        doc("the document of the text that holds the middle of each window, counted from 0"),
    ] = UNSET
    window_nll: Annotated[
        Maybe[dict[str, list[float]]],
        doc("summed nats of each window, `teacher_forced` and `cached`"),
    ] = UNSET
    window_kl: Annotated[Maybe[list[float]], doc("mean KL of each window")] = UNSET
    window_agreement: Annotated[
        Maybe[list[float]], doc("share of tokens of each window with v1's top guess")
    ] = UNSET


class Scores(Struct, frozen=True, kw_only=True):
    task: Annotated[str, doc("needle, multikey, variables or words")]
    length: Annotated[Positive, doc("tokens of an item")]
    item: Annotated[list[Count], doc("which items")]
    rank: Annotated[
        list[Positive], doc("of each item's answer among the candidates, by likelihood; 1 is right")
    ]
    margin: Annotated[
        list[float | None],
        doc("its log-probability less that of the likeliest distractor, nats; null for no number"),
    ]


class Retrieval(Measured, frozen=True, kw_only=True):
    lengths: Annotated[list[Positive], Meta(min_length=1), doc("tokens of the tasks")]
    items: Annotated[Positive, doc("items of each task and length, the same for every version")]
    candidates: Annotated[Positive, doc("answers of an item that are ranked, the right one too")]
    prefix_tokens: Annotated[
        Maybe[list[int]],
        doc("ids that every item begins with, as the model's tokenizer adds them: BOS, or none"),
    ] = UNSET
    scores: Annotated[list[Scores], Meta(min_length=1), doc("each task and length")]
    noise_floor: Annotated[
        Maybe[list[Scores]],
        doc("of v1 alone: a few items again, through another exact path"),
    ] = UNSET
    corrupted: Annotated[
        Maybe[list[Scores]],
        doc("a few items again, after what the cache had stored of them was reversed"),
    ] = UNSET


class Capacity(Measured, frozen=True, kw_only=True):
    budget_bytes: Annotated[Positive, doc("what weights, cache and transients may take together")]
    T: Annotated[Positive, doc("tokens generated by each sequence")]
    predicted_batch: Annotated[
        Count, doc("the largest batch that the model lets into the budget; 0 for none")
    ]
    confirmed: Annotated[bool, doc("whether that batch fitted and the next one did not")]
    bytes_per_sequence: Annotated[float, doc("what one more sequence is predicted to take")]
    probes: Annotated[
        list[Any],
        Meta(min_length=2),
        doc(
            "runs that the prediction is drawn from: two small batches, then those that a line "
            "through the last two led to"
        ),
    ]
    sides: Annotated[
        list[Any],
        Meta(min_length=1),
        doc(
            "one run on each side of the line: its batch, its peak, whether it fitted; on CUDA "
            "`peak_allocated_bytes` and `peak_reserved_bytes`"
        ),
    ]


# What was measured -> the type of its record; of a benchmark that is not here, `Measured`.
TYPES: dict[str, type[Measured]] = {
    "latency_vs_T": Latency,
    "vram_vs_T": Memory,
    "phase": PhaseTimes,
    "perplexity": Perplexity,
    "retrieval": Retrieval,
    "roofline": Roofline,
    "decode": Decode,
    "dispatch": Decode,
    "capacity": Capacity,
}
