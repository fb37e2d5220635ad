"""Studies of made-up times, of any size: real cells, the real pooling, the real record writer.

Facts of a machine are those of a published record. Times are a line in depth and batch with noise
on it, so that figures show what a measured study's would. For tests of size, never a result.
"""

import json
import random
from functools import cache
from pathlib import Path

from kvbench.analysis.pool import pool
from kvbench.plan import cells
from kvbench.plan.config import load_schema, resolve
from kvbench.records.byte_sums import closed_form
from kvbench.records.store import write_record

PUBLISHED = Path(__file__).parents[2] / "published/cpu-amd-epyc-avx2/results.jsonl"
RESULTS = ("benchmark_name", "T", "depth", "time_", "ttft", "tpot", "sampling", "step_ms")
PER_STEP = {"v0": 0.8, "v1": 0.5, "v2": 0.47, "v3": 0.42, "v4": 0.4}  # ms at batch 1, depth 0
SLOPES = {"v0": 0.04, "v1": 0.004, "v2": 0.002, "v3": 0.002, "v4": 0.001}  # ms a token of depth


def config(**given):
    return resolve({"pretrained": "gpt2", **given}, load_schema(), name="made")


@cache
def published(benchmark):
    """One whole record per version."""
    records = map(json.loads, PUBLISHED.read_text().splitlines())
    return {r["version"]: r for r in records if r["benchmark_name"] == benchmark}


def frame(cell, benchmark="latency_vs_T"):
    """What a record of the cell says besides its results."""
    like = published(benchmark)[cell.version]
    kept = {k: like[k] for k in like if k not in ("processes", "T") and not k.startswith(RESULTS)}
    same = ("benchmark_name", "batch_size", "prompt_length", "version", "version_description")
    return kept | {key: getattr(cell, key) for key in same}


def ran(replicate):
    """The state of a process of one round: rounds are an hour apart."""
    quiet = {"load_before": 0.5, "load_after": 0.9, "cpu_share": 1.0, "involuntary_switches": 0}
    quiet |= {"throttled": {}, "disturbed": False, "disturbed_by": []}
    return quiet | {"began_at": f"2026-01-01T{replicate % 24:02}:00:00+00:00"}


def step(cell, depth, draw):
    """Milliseconds of one step."""
    batch, version = cell.batch_size, cell.version
    ms = 0.3 + batch * (PER_STEP[version] / 8 + SLOPES[version] * depth / 20)
    return ms * draw.lognormvariate(0, 0.01)


def latency(config, version, batch, T, draw=random):
    """A pooled latency cell."""
    cell = cells.cell(config, "latency", config["pretrained"][0], version, batch=batch, T=T)
    samples = []
    for replicate in range(1, config["replicates"] + 1):
        drift, runs = draw.lognormvariate(0, 0.01), []
        for _ in range(config["num_measure_runs"]):
            steps = [drift * step(cell, cell.prompt_length + t, draw) for t in range(T)]
            total = {"time_total_ms": sum(steps) + 0.1 * T, "ttft_ms": steps[0]}
            runs.append(total | {"step_ms": steps, "sampling_ms": 0.1 * T})
        tpot = sum(steps[1:]) / (T - 1) if T > 1 else None
        about = {"T": T, "runs": runs, "replicate": replicate, "place_in_line": replicate}
        about |= {"ttft_ms_median": steps[0], "tpot_ms_median": tpot}
        about |= {"sampling_ms_median": 0.1 * T, "overflow_steps": 0}
        samples.append(frame(cell) | about | {"machine_state": ran(replicate)})
    return pool(samples)


def decode(config, version, batch, depth, draw=random):
    """A pooled decode cell."""
    cell = cells.cell(config, "decode", config["pretrained"][0], version, batch=batch, depth=depth)
    samples = []
    for replicate in range(1, config["replicates"] + 1):
        times = [step(cell, depth, draw) for _ in range(config["num_measure_runs"])]
        runs = [{"tpot_ms": ms, "step_ms": [ms] * 8, "wall_ms": 8 * ms} for ms in times]
        about = {"depth": depth, "steps": 8, "tpot_ms_median": times[0], "runs": runs}
        about |= {
            "replicate": replicate,
            "place_in_line": replicate,
            "machine_state": ran(replicate),
        }
        samples.append(frame(cell) | about)
    return pool(samples)


def vram(config, version, batch, T, draw=random):
    """A memory cell whose parts are its whole."""
    cell = cells.cell(config, "vram", config["pretrained"][0], version, batch=batch, T=T)
    like = published("vram_vs_T")[version]
    tokens = cell.prompt_length + T - 1 if cell.use_cache else 0
    record = like | frame(cell, "vram_vs_T") | {"T": T, "cache_tokens": tokens}
    used = closed_form(record)
    parts = {"cache_used_bytes": used, "cache_reserved_bytes": int(1.2 * used)}
    parts |= {"transient_bytes": like["transient_bytes"] * batch}
    active = parts["cache_reserved_bytes"] + parts["transient_bytes"]
    peaks = ("peak_activation_bytes", "prefill_peak_bytes", "decode_peak_bytes")
    whole = {"peak_memory_bytes": like["baseline_memory_bytes"] + active}
    return record | parts | dict.fromkeys(peaks, active) | whole


def phase(config, version, batch, T, draw=random):
    """A phase cell."""
    cell = cells.cell(config, "phase", config["pretrained"][0], version, batch=batch, T=T)
    like = published("phase")[version]
    spent = {name: ms * batch for name, ms in like["time_phase_ms"].items()}
    runs = [{name: ms * batch for name, ms in run.items()} for run in like["runs"]]
    return like | frame(cell, "phase") | {"T": T, "time_phase_ms": spent, "runs": runs}


KINDS = {"latency": latency, "decode": decode, "vram": vram, "phase": phase}


def study(folder, config, kind, lengths):
    """Write every cell of one benchmark at its path under `folder`; the paths, in order."""
    draw, paths = random.Random(config["seed"]), []
    letter = "D" if kind == "decode" else "T"
    for version in config["versions"]:
        for batch in config["batch_size"]:
            for length in lengths:
                name = f"{kind}/{config['pretrained'][0]}/{version}/B{batch}/{letter}{length}.json"
                write_record(Path(folder) / name, KINDS[kind](config, version, batch, length, draw))
                paths.append(str(Path(folder) / name))
    return paths
