"""What a folder of evidence holds, and the numbers that are worked out from its records.

Times are medians; brackets are 95 % intervals over processes; a ratio is taken within processes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from kvbench.analysis.bounds import cost_inputs
from kvbench.costs.forward import Cost, forward
from kvbench.stats.paired import compare, interval
from perf import report
from perf.evidence.run import lines

Record = dict[str, Any]
Blocks = dict[str, Record]  # step (a process) -> record


class Evidence:
    """What a folder holds; whatever is not there is empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = self._json("state.json") or {}
        self.facts = self._json("facts.json")
        self.launches = self._json("launches.json") or []
        self.lines = lines(folder / "cells.jsonl")

    def _json(self, name: str) -> Any:
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else None

    @property
    def read_gb_s(self) -> float | None:
        """The read bandwidth that shares are of: the machine's, or what the rows saw."""
        if self.facts:
            return self.facts["roofs"]["read_gb_s"]
        samples = [
            s for row in report.read(self.folder / "speed.json") for s in row.get("samples", [])
        ]
        return max((max(sample["read_gb_s"]) for sample in samples), default=None)

    def cells(self, group: str) -> dict[str, Blocks]:
        """The measured records of a group by name, in step order."""
        found: dict[str, Blocks] = {}
        for line in sorted(self.lines, key=lambda line: line["step"]):
            record = line.get("record", {})
            if line["group"] == group and record and "error" not in record:
                found.setdefault(line["name"], {})[line["step"]] = record
        return dict(sorted(found.items()))


def cost_of(record: Record, depth: int) -> Cost:
    """The compulsory cost of a record's step after `depth` cached tokens."""
    return forward(**cost_inputs(record), depth=depth, T=1)


def device_ms(record: Record) -> list[float]:
    """Milliseconds of each run by the device's clock."""
    return [run["device_ms"] for run in record["runs"]]


def step_ms(record: Record) -> list[float]:
    """Each run's median decode step."""
    return [run["tpot_ms"] for run in record["runs"]]


def token_ms(record: Record) -> list[float]:
    """Each run's mean decode step, with the pick of a token where it is apart from the step."""
    return [
        fmean(run["step_ms"][1:]) + run["sampling_ms"] / len(run["step_ms"])
        for run in record["runs"]
    ]


def over(base: Blocks, blocks: Blocks, times: Callable[..., Any], name: str) -> str:
    """The ratio of times, `name`'s over these, in the processes that measured both."""
    both = [block for block in base if block in blocks]
    if not both:
        return ""
    ratio = compare([times(base[b]) for b in both], [times(blocks[b]) for b in both])
    return f"; {name} over it {span(ratio.ratio, ratio.low, ratio.high)}"


def share(found: Evidence, cost: Cost, ms: float) -> str:
    """The share of the floor: the time of compulsory bytes at the read bandwidth, over `ms`."""
    if not found.read_gb_s:
        return ""
    return f", share of the floor {cost.bytes / found.read_gb_s / 1e6 / ms:.3f}"


def span(point: float, low: float | None, high: float | None) -> str:
    """A number with its interval."""
    return f"{point:.4g}" + ("" if low is None else f" [{low:.4g}, {high:.4g}]")


def joules(blocks: Blocks) -> str:
    """Energy of a decoded token, where a counter read it."""
    read = (one.get("energy", {}).get("decode_j_per_token") for one in blocks.values())
    each = [[drawn] for drawn in read if drawn is not None and drawn > 0]
    if not each:
        return ""
    found = interval(each)
    return f", {span(found.point, found.low, found.high)} J a token"


def baseline(cells: dict[str, Blocks], record: Record, than: str, group: str) -> Blocks:
    """The cells to hold a generation against: the same version's, or v1's beside other runners."""
    version = "v1" if group == "peers" else record["version"]
    like = f"{record['pretrained']} {version} {than} "
    return next((blocks for name, blocks in cells.items() if name.startswith(like)), {})
