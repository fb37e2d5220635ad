"""How long a study's measuring jobs will take: from earlier ones of this folder, else by the shape.

A forecast for people, not a bound: a scheduler's limits are in `kvbench.plan.resources`. Standard
library only.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from itertools import product
from pathlib import Path
from statistics import median
from types import SimpleNamespace

from kvbench.benchmarks import BENCHMARKS, record_name
from kvbench.cell import Cell, steps_a_reading
from kvbench.costs import forward as costs
from kvbench.files import Json
from kvbench.plan import cells, targets
from kvbench.plan.config_types import Config

START_S = 2.0  # a process with torch and its weights
PHASE_S = 0.5  # of a run budget, what a roofline cell uses at most
TRAIN_S = 0.5  # a step of training nano
FLOP_S, BYTES_S = 5e10, 1e10  # of one core
READ = 400  # earlier records looked at, the newest
FURTHER = {"vram": 1.0, "phase": 2.0, "roofline": 3.0}  # runs of these for each one asked for
WARM_TOKENS = 16  # at most, of a warm-up
READ_STEPS = 16  # of a reading between runs, at most


def by_shape(cell: Cell | SimpleNamespace) -> float:
    """Seconds of one process of a cell, from its FLOP and bytes on one core."""
    shape, owner = cell.model_config, cell.layer_owner
    row = costs.head_dim(shape) * costs.ITEMSIZE[cell.dtype] if cell.use_cache else None
    model = (shape, owner, cell.dtype, cell.batch_size)

    def seconds(depth: int, tokens: int) -> float:
        if row is None:
            depth, tokens = 0, depth + tokens
        window = min(tokens, shape["block_size"])
        cost = costs.forward(*model, min(depth, shape["block_size"] - window), window, row)
        return cost.flop / FLOP_S + cost.bytes / BYTES_S

    if cell.context:  # perplexity: both readings of each window, and its probes
        windows = cell.max_windows or 64
        return START_S + 3 * windows * seconds(0, cell.context)
    if cell.lengths:
        return START_S + 4 * cell.items * sum(seconds(0, length) for length in cell.lengths)
    cached = cell.P or cell.depth or cell.prompt_length
    steps = cell.steps or cell.T or 1
    filled = bool(cell.depth) or cell.phase == "decode"  # with random rows, not by a prefill
    prefill = 0.0 if filled else seconds(0, cached)
    step = seconds(cached + steps // 2, 1)
    one = (prefill + steps * step) * FURTHER.get(cell.benchmark, 1.0)
    runs = cell.num_measure_runs
    if cell.run_budget_s is not None:
        budget_s = min(cell.run_budget_s, PHASE_S) if cell.phase else cell.run_budget_s
        runs = max(1, min(runs, math.ceil(budget_s / one)))
    warm = cell.num_warmup_runs * (prefill + min(steps, WARM_TOKENS) * step)
    read = 0.0
    if cell.yardstick and cell.depth:
        read = (runs + 1) * min(steps, READ_STEPS) * step
    elif cell.yardstick:
        read = runs * (prefill + steps // steps_a_reading(steps) * step)
    return START_S + warm + runs * one + read + 2 * cell.energy_s


def cells_of(config: Config) -> dict[str, Cell]:
    """Path of a measuring job's output -> its cell, for every benchmark of the study."""
    found = {}
    for benchmark in BENCHMARKS:
        study, places = cells.study_of(config, benchmark), targets.places(config, benchmark)
        replicates = study["replicates"] if targets.sampled(config, benchmark) else 1
        path = targets.record_file(config, benchmark)
        path = path.replace("<results>", f"results/{config['study']}")
        for preset, where in product(targets.presets_of(config, benchmark), places):
            cell = cells.make(config, benchmark, preset=preset, **where)
            for replicate in range(1, replicates + 1):
                found[path.format(preset=preset, replicate=replicate, **where)] = cell
    return found


class Forecast:
    """Seconds of a cell's process, scaled by what earlier ones of its benchmark and model took."""

    def __init__(self, results: Path = Path("results")) -> None:
        """`results` holds the studies that were run here, whose records say how long they took."""
        took: dict[tuple[str, str], list[float]] = defaultdict(list)
        for path in _newest(results):
            try:
                record = json.loads(path.read_bytes())
                began = datetime.fromisoformat(record["machine_state"]["began_at"]).timestamp()
                like = SimpleNamespace(**{**NOT_IN_RECORDS, **record, **_asked(record)})
                ratio = (path.stat().st_mtime - began) / by_shape(like)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # no record of one process
            if ratio > 0:
                took[like.benchmark, like.pretrained].append(ratio)
        self.scale = {kind: median(found) for kind, found in took.items()}

    def seconds(self, cell: Cell) -> float:
        """Of one process that measures a cell."""
        others = list(self.scale.values())
        usual = median(others) if others else 1.0
        return by_shape(cell) * self.scale.get((cell.benchmark, cell.pretrained), usual)


# What a record does not repeat of its cell, and what that is where it is not asked for.
NOT_IN_RECORDS: Json = {
    **dict.fromkeys(("T", "depth", "P", "steps", "context", "energy_s"), 0),
    **{
        "run_budget_s": None,
        "phase": "",
        "max_windows": None,
        "num_warmup_runs": 1,
        "yardstick": False,
        "lengths": [],
    },
}


def training_s(config: Config, outputs: Iterable[str]) -> float:
    """Seconds of training nano, where that is among the files to be made."""
    trained = sum("/trained-" in path for path in outputs)
    return TRAIN_S * config["nano"]["steps"] * trained


def _asked(record: Json) -> Json:
    kinds = {record_name(name): name for name in reversed(BENCHMARKS)}
    runs = record.get("runs") or record.get("repeats") or [None]
    found = {"benchmark": kinds[record["benchmark_name"]], "num_measure_runs": len(runs)}
    if record["benchmark_name"] == "perplexity":
        found["max_windows"] = record["n_windows"]
    return found | {"yardstick": "yardstick_ms" in record}


def _newest(results: Path) -> list[Path]:
    """Records of processes under results/, the newest first."""
    found = [(path.stat().st_mtime, path) for path in results.glob("*/*/**/*.json")]
    return [path for _, path in sorted(found, reverse=True)[:READ]]


def left(total: float, done: float, took: float) -> float:
    """Seconds left of `total` forecast ones, of which `done` took `took`.

    By the forecast until a tenth is done, from then on by the pace so far.
    """
    if done < total / 10:
        return max(0.0, total - took)
    return took * max(0.0, total - done) / done


def words(seconds: float) -> str:
    """A time as people say it: `40 s`, `6 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def seconds_of(budget: str) -> float:
    """Seconds of `90s`, `5m`, `2h` or a number of seconds. Raises ValueError."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (budget[:-1], budget[-1]) if budget[-1:] in units else (budget, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"budget is {budget!r}; allowed: a time such as 90s, 5m or 2h")
    return seconds
