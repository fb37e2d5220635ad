"""The registry of benchmarks, as data. Standard library only.

A benchmark is one entry here and one module of `kvbench.bench` with `run(cell, weights, kernels)`,
which returns a record. Paths, rules, figures, tables and chapters follow from the entry.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Benchmark:
    """One entry.

    path: of a cell, below results/{study}/{benchmark}/{preset}; its wildcards are the axes.
    axes: wildcard -> the configuration key that lists its values.
    settings: configuration keys that a cell takes, by their last part.
    inputs: what the job reads besides its code, by name.
    """

    path: str
    axes: dict[str, str]
    settings: tuple[str, ...] = ()
    module: str = ""  # of kvbench.bench, where it is not the benchmark's name
    record: str = ""  # benchmark_name of records, where it is not the benchmark's name
    inputs: tuple[str, ...] = ("weights", "kernels")
    in_all: bool = True  # whether the configuration key `benchmarks` may name it
    pooled: bool = False  # timed in several processes, interleaved over versions
    timed: bool = True  # an untimed job shares the CPU
    scored: bool = False  # of presets with real weights, instead of those that are timed
    whole_steps: bool = False  # whole steps are timed: they may be captured or compiled
    figures: tuple[str, ...] = ()  # a figure of several benchmarks stands with each of them
    tables: tuple[str, ...] | None = None  # by default one, of the benchmark's name
    columns: tuple[str, ...] = ()  # record keys of a table that has no row function
    chapter: str = "8 Other"  # of the report


BATCH_T = "{version}/B{batch}/T{T}"
BATCH_D = "{version}/B{batch}/D{depth}"
GENERATIONS = {"version": "versions", "batch": "batch_size", "T": "T_values"}

BENCHMARKS: dict[str, Benchmark] = {
    "latency": Benchmark(
        BATCH_T,
        GENERATIONS,
        ("yardstick", "energy_s"),
        record="latency_vs_T",
        pooled=True,
        whole_steps=True,
        figures=("latency", "speedup", "tradeoff"),
        tables=("latency", "energy"),
        chapter="1 Speed",
    ),
    "vram": Benchmark(
        BATCH_T, GENERATIONS, record="vram_vs_T", figures=("vram",), chapter="3 Memory"
    ),
    "phase": Benchmark(
        BATCH_T, GENERATIONS | {"T": "T_star"}, figures=("phase",), chapter="4 Phases"
    ),
    "perplexity": Benchmark(
        "{version}",
        {"version": "versions"},
        (
            *("perplexity.text", "perplexity.context", "perplexity.stride"),
            *("perplexity.max_windows", "perplexity.prompt", "perplexity.probes"),
            "perplexity.divergence",
        ),
        "quality.perplexity",
        inputs=("weights", "reference", "tokens"),
        timed=False,
        scored=True,
        figures=("perplexity", "degradation", "tradeoff"),
        chapter="5 Quality",
    ),
    "retrieval": Benchmark(
        "{version}",
        {"version": "versions"},
        ("retrieval.lengths", "retrieval.items"),
        "quality.retrieval",
        inputs=("weights", "tasks"),
        timed=False,
        scored=True,
        figures=("retrieval",),
        tables=(),
        chapter="5 Quality",
    ),
    "roofline": Benchmark(
        "{version}_{phase}/B{batch}/P{P}",
        {
            "version": "versions",
            "phase": "roofline.phases",
            "batch": "roofline.batch_sizes",
            "P": "roofline.P",
        },
        pooled=True,
        whole_steps=True,
        figures=("roofline",),
        chapter="6 Roofline",
    ),
    "decode": Benchmark(
        BATCH_D,
        {"version": "versions", "batch": "batch_size", "depth": "decode.depths"},
        ("yardstick", "decode.steps"),
        pooled=True,
        whole_steps=True,
        figures=("decode",),
        chapter="2 Depth and batch",
    ),
    "dispatch": Benchmark(
        BATCH_D,
        {"version": "versions", "batch": "batch_size", "depth": "decode.depths"},
        ("decode.steps",),
        "decode",
        inputs=("kernels",),
        pooled=True,
        whole_steps=True,
        figures=("attribution",),
        tables=(),
        chapter="2 Depth and batch",
    ),
    "capacity": Benchmark(
        "{version}",
        {"version": "versions"},
        ("capacity.T", "capacity.budget_mib"),
        inputs=("weights",),
        in_all=False,
        chapter="3 Memory",
    ),
    "controls": Benchmark(
        "{control}/B{batch}/T{T}",
        {"control": "versions", "batch": "batch_size", "T": "T_values"},
        ("yardstick",),
        "latency",
        "latency_vs_T",
        in_all=False,
        pooled=True,
        whole_steps=True,
        tables=(),
        chapter="1 Speed",
    ),
    "peers": Benchmark(
        "{peer}/B{batch}/T{T}",
        {"peer": "peers", "batch": "batch_size", "T": "T_values"},
        inputs=("weights",),
        in_all=False,
        pooled=True,
        figures=("peers",),
        tables=(),
    ),
    "executions": Benchmark(
        "{mode}/" + BATCH_T,
        {"mode": "modes", **GENERATIONS},
        ("yardstick",),
        "latency",
        in_all=False,
        pooled=True,
        whole_steps=True,
        figures=("executions",),
        tables=(),
    ),
}


def record_name(benchmark: str) -> str:
    """The `benchmark_name` of a benchmark's records."""
    return BENCHMARKS[benchmark].record or benchmark
