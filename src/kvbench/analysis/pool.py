"""Pool the processes of one timed cell into the record at its contract path."""

from __future__ import annotations

from dataclasses import asdict
from statistics import fmean, median, stdev

from kvbench.cell import PHASES
from kvbench.records.record import Record, is_error, timing_key
from kvbench.stats.paired import interval

OF_A_PROCESS = (
    *("replicate", "place_in_line", "runs", "yardstick_ms", "energy", "machine_state"),
    "partners",  # processes of cells it is compared with, measured with it
)


def pool(samples: list[Record]) -> Record:
    """One record from the samples of R processes: medians, intervals, every raw sample.

    Metadata is the first sample's. Medians are over processes of each process's median. A process
    that ran out of memory makes the cell a result of that kind. That they belong together is
    `records.read_cells`'s to say.
    """
    first = samples[0]
    for sample in samples:
        if is_error(sample):
            return {**sample, "replicates": len(samples)}
    metadata = {key: value for key, value in first.items() if key not in OF_A_PROCESS}
    timed = timing_key(first)
    processes = [[run[timed] for run in sample["runs"]] for sample in samples]
    cell_time = "time_ms" if "P" in first else timed
    found = {f"{cell_time}_median": median(map(median, processes))}
    if "T" in first:
        found |= _generation(samples, processes)
    if "P" in first:
        found |= _phase(samples)
    return {
        **metadata,
        **found,
        f"{cell_time}_interval": asdict(interval(processes)),
        **_energy(samples),
        "replicates": len(samples),
        "disturbed": sum(sample["machine_state"]["disturbed"] for sample in samples),
        "processes": [
            {key: sample.get(key) for key in OF_A_PROCESS if key in sample} for sample in samples
        ],
    }


def _energy(samples: list[Record]) -> Record:
    """Joules a token with their intervals over processes, or null and the first one's reason."""
    drawn = [sample["energy"] for sample in samples if "energy" in sample]
    if not drawn:
        return {}
    reasons = [one["reason"] for one in drawn if one["reason"]]
    found: Record = {"source": drawn[0]["source"]}
    for phase in PHASES:
        key = f"{phase}_j_per_token"
        values = [one[key] for one in drawn if one[key] is not None]
        if any(value <= 0 for value in values):
            values = []
            reasons.append(
                f"{phase} draws no more than the idle device, within the meter's resolution"
            )
        found[key] = asdict(interval([[value] for value in values])) if values else None
    idle = [one["idle_w"] for one in drawn if one["idle_w"] is not None]
    reason = reasons[0] if reasons else None
    return {"energy": {**found, "idle_w": median(idle) if idle else None, "reason": reason}}


def _generation(samples: list[Record], totals: list[list[float]]) -> Record:
    """What a whole generation has besides its time."""
    every = [ms for process in totals for ms in process]
    return {
        "time_per_token_ms_median": median(map(median, totals)) / samples[0]["T"],
        "time_total_ms_std": stdev(every) if len(every) > 1 else 0.0,
        "ttft_ms_median": _over(samples, "ttft_ms_median"),
        "tpot_ms_median": _over(samples, "tpot_ms_median"),
        "sampling_ms_median": _over(samples, "sampling_ms_median"),
        "step_ms_median": [
            fmean(steps) for steps in zip(*(_steps(sample) for sample in samples), strict=True)
        ],
    }


def _phase(samples: list[Record]) -> Record:
    """What a roofline's phase has besides its time by the device's clock."""
    walls = [median(run["wall_ms"] for run in sample["runs"]) for sample in samples]
    traffic = [
        sample["dram_bytes_measured"] for sample in samples if "dram_bytes_measured" in sample
    ]
    counted = {"dram_bytes_measured": round(median(traffic))} if traffic else {}
    return {"wall_ms_median": median(walls), **counted}


def _over(samples: list[Record], key: str) -> float | None:
    values = [sample[key] for sample in samples if sample[key] is not None]
    return median(values) if values else None


def _steps(sample: Record) -> list[float]:
    """A process's median time of each step, over its runs."""
    return [median(step) for step in zip(*(run["step_ms"] for run in sample["runs"]), strict=True)]
