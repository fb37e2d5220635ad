"""The types of records that are timed in several processes: latency, decode, dispatch, roofline."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct

from kvbench.records.types import (
    Amount,
    Count,
    MachineState,
    Maybe,
    Measured,
    Positive,
    doc,
)

Phase = Literal["prefill", "decode"]


class Estimate(Struct, frozen=True, kw_only=True):
    point: float
    low: float | None
    high: float | None
    replicates: Positive


class Interval(Estimate, frozen=True, kw_only=True):
    level: float
    reason: str | None


class Energy(Struct, frozen=True, kw_only=True):
    source: Annotated[
        Literal["nvml", "rapl"] | None, doc("whose counter; null where there is none")
    ]
    prefill_j_per_token: Annotated[
        Estimate | None, doc("of a token of the prompt, over processes, with its interval")
    ]
    decode_j_per_token: Annotated[Estimate | None, doc("of a token decoded")]
    idle_w: Annotated[float | None, doc("watts of the idle device, its context open")]
    reason: Annotated[str | None, doc("why a value is null")]


class ProcessEnergy(Struct, frozen=True, kw_only=True):
    source: str | None
    reason: str | None


class Run(Struct, frozen=True, kw_only=True):
    step_ms: Maybe[list[Amount]] = UNSET
    time_total_ms: Maybe[Amount] = UNSET
    tpot_ms: Maybe[Amount] = UNSET
    device_ms: Maybe[Amount] = UNSET
    wall_ms: Maybe[Amount] = UNSET


class Partner(Struct, frozen=True, kw_only=True):
    version: str
    key: str
    runs: Annotated[list[Run], Meta(min_length=1)]
    yardstick_ms: Maybe[list[float]] = UNSET
    machine_state: MachineState


class Process(Struct, frozen=True, kw_only=True):
    replicate: Annotated[
        Positive, doc("the block it ran in: replicate r of every version ran side by side")
    ]
    place_in_line: Annotated[
        Maybe[int | None],
        doc(
            "its planned place in the study's one line of timed samples; 0 where asked for by name"
        ),
    ] = UNSET
    runs: Annotated[
        list[Run],
        Meta(min_length=1),
        doc(
            "each run: `step_ms` each forward, with the whole in `time_total_ms` or the median "
            "step in `tpot_ms`; of a roofline cell `device_ms`, the phase by the device's clock, "
            "and `wall_ms`"
        ),
    ]
    energy: Annotated[
        Maybe[ProcessEnergy],
        doc(
            "joules a token of this process; `prefills` and `generations`: what each loop drew "
            "above the idle device, its repeats and its seconds; `update_s`, the time between two "
            "updates of the counter"
        ),
    ] = UNSET
    yardstick_ms: Annotated[
        Maybe[Annotated[list[Annotated[float, Meta(gt=0)]], Meta(min_length=1)]],
        doc(
            "work that all versions do alike: between the steps of each run, one sum a run; of a "
            "decode cell once before the first run and once after each; brings runs to one pace "
            "where versions are compared"
        ),
    ] = UNSET
    machine_state: Annotated[MachineState, doc("as of the record")]
    partners: Annotated[
        Maybe[list[Partner]],
        doc(
            "where this cell was measured again and what it is compared with was not: a process of "
            "each of those, run next to this one; `version`, and `key` of their provenance"
        ),
    ] = UNSET


class Pooled(Measured, frozen=True, kw_only=True):
    replicates: Annotated[Positive, doc("processes")]
    disturbed: Annotated[Count, doc("how many of them were disturbed")]
    processes: Annotated[
        list[Process],
        Meta(min_length=1),
        doc("every process with its raw samples, none dropped"),
    ]


class Latency(Pooled, frozen=True, kw_only=True):
    T: Annotated[Positive, doc("tokens generated")]
    time_total_ms_median: Annotated[
        Amount, doc("whole generation, median over processes of each one's median")
    ]
    time_per_token_ms_median: Annotated[Amount, doc("that over T")]
    time_total_ms_std: Annotated[Amount, doc("over every run of every process")]
    time_total_ms_interval: Annotated[Interval, doc("of the median, over processes")]
    ttft_ms_median: Annotated[Amount, doc("time to first token: prefill and its pick")]
    tpot_ms_median: Annotated[Amount | None, doc("mean decode step; null where T is 1")]
    energy: Annotated[
        Maybe[Energy],
        doc(
            "joules above what the idle device draws, of the GPU's board or the processor's "
            "packages; of processes, where they were counted apart from the timed runs"
        ),
    ] = UNSET
    sampling_ms_median: Annotated[Amount, doc("picking tokens, apart from the forwards")]
    step_ms_median: Annotated[list[Amount], doc("each forward, the first is the prefill")]
    overflow_steps: Annotated[Count, doc("steps past block_size, where the window slid")]


class Decode(Pooled, frozen=True, kw_only=True):
    depth: Annotated[Positive, doc("tokens in the cache")]
    steps: Annotated[Positive, doc("decode steps of one run, all at that depth")]
    tpot_ms_median: Annotated[Amount, doc("one step, median over processes of each one's median")]
    tpot_ms_interval: Annotated[Interval, doc("of the median, over processes")]


class Roofline(Measured, frozen=True, kw_only=True):
    phase: Annotated[Phase, doc("the phase under the roof")]
    P: Annotated[Positive, doc("tokens of the prefill, or depth of the decode step")]
    time_ms_median: Annotated[
        Amount,
        doc("of the phase; where it was timed, median over processes of each one's median"),
    ]
    time_ms_interval: Annotated[Maybe[Interval], doc("of the median, over processes")] = UNSET
    wall_ms_median: Annotated[
        Maybe[Amount], doc("likewise by the wall's clock, from an idle device until it is idle")
    ] = UNSET
    replicates: Annotated[
        Maybe[Positive],
        doc(
            "processes; with the next two, where the phase was timed: not of a profile, nor of "
            "older records, which hold the `runs` of one process"
        ),
    ] = UNSET
    disturbed: Annotated[Maybe[Count], doc("how many of them were disturbed")] = UNSET
    processes: Annotated[
        Maybe[Annotated[list[Process], Meta(min_length=1)]],
        doc("every process with its raw samples, none dropped"),
    ] = UNSET
    source: Annotated[Literal["model", "ncu", "csv"], doc("where FLOP and bytes come from")]
    flop: Annotated[Count, doc("modelled")]
    bytes: Annotated[Amount, doc("modelled, compulsory: the next three")]
    weight_bytes: Annotated[Amount, doc("weights read")]
    kv_read_bytes: Annotated[Amount, doc("cache read")]
    kv_write_bytes: Annotated[Amount, doc("cache written")]
    intensity: Annotated[Amount, doc("FLOP per byte")]
    bytes_are: Annotated[str, doc("what `bytes` is, in words")]
