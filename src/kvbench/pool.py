"""Pool the processes of one latency cell into the record at its contract path."""

from __future__ import annotations

from dataclasses import asdict
from statistics import fmean, median, stdev
from typing import Any

from kvbench.stats.paired import interval

PER_PROCESS = ("load_before", "load_after", "cpu_share", "involuntary_switches", "disturbed")


def pool(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """One record from the samples of R processes: medians, intervals, every raw sample.

    Metadata is the first sample's. Medians are over processes of each process's median. A process
    that ran out of memory makes the cell a result of that kind. Raises ValueError for samples that
    differ in what must agree: device, dtype, weights, threads.
    """
    first = samples[0]
    for key in ("device_name", "dtype", "weights", "threads", "pytorch_version"):
        found = {sample.get(key) for sample in samples if "error" not in sample}
        if len(found) > 1:
            raise ValueError(f"samples of one cell differ in {key}: {sorted(map(str, found))}")
    for sample in samples:
        if "error" in sample:
            return {**sample, "replicates": len(samples)}
    totals = [[run["time_total_ms"] for run in sample["runs"]] for sample in samples]
    every = [ms for process in totals for ms in process]
    T = first["T"]
    middle = median(map(median, totals))
    metadata = {k: v for k, v in first.items() if k not in ("runs", "replicate", "machine_state")}
    return {
        **metadata,
        "time_total_ms_median": middle,
        "time_per_token_ms_median": middle / T,
        "time_total_ms_std": stdev(every) if len(every) > 1 else 0.0,
        "ttft_ms_median": _over(samples, "ttft_ms_median"),
        "tpot_ms_median": _over(samples, "tpot_ms_median"),
        "sampling_ms_median": _over(samples, "sampling_ms_median"),
        "time_total_ms_interval": asdict(interval(totals)),
        "step_ms_median": [
            fmean(steps) for steps in zip(*(_steps(sample) for sample in samples), strict=True)
        ],
        "replicates": len(samples),
        "disturbed": sum(sample["machine_state"]["disturbed"] for sample in samples),
        "processes": [
            {key: sample.get(key) for key in ("replicate", "runs", "machine_state")}
            for sample in samples
        ],
    }


def _over(samples: list[dict[str, Any]], key: str) -> float | None:
    values = [sample[key] for sample in samples if sample[key] is not None]
    return median(values) if values else None


def _steps(sample: dict[str, Any]) -> list[float]:
    """A process's median time of each step, over its runs."""
    return [median(step) for step in zip(*(run["step_ms"] for run in sample["runs"]), strict=True)]
