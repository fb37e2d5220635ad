"""The headline numbers of a folder of evidence, every one worked out from the records in it.

    python -m perf.evidence.summary FOLDER

Times are medians; brackets are 95 % intervals over processes; a ratio is taken within processes.
A share of the floor is the time that the step's compulsory bytes (`kvbench.costs`) take at the read
bandwidth measured in the same folder, over the step's time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean, median
from typing import Any
from xml.etree import ElementTree

from kvbench.analysis.bounds import cost_inputs
from kvbench.costs.forward import Cost, ceiling, forward
from kvbench.ncu import parse
from kvbench.stats.paired import compare, interval
from perf import report
from perf.evidence.run import lines

Record = dict[str, Any]
Lines = Iterator[str]
FAILED = 25  # names of failed tests that are listed
KERNELS = 8  # of a profiled step, the longest


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

    def cells(self, group: str) -> dict[str, dict[str, Record]]:
        """The measured records of a group: name -> step (a process) -> record, in step order."""
        found: dict[str, dict[str, Record]] = {}
        for line in sorted(self.lines, key=lambda line: line["step"]):
            record = line.get("record", {})
            if line["group"] == group and record and "error" not in record:
                found.setdefault(line["name"], {})[line["step"]] = record
        return dict(sorted(found.items()))


def summary(folder: Path) -> str:
    """All of it, in Markdown."""
    found = Evidence(folder)
    parts = {
        "Steps": steps(found),
        "Machine": machine(found),
        "GPU tests": tests(found),
        "Speed rows": rows(folder),
        "Ways to run a step (ms a token)": generations(found, "executions", "eager-torch"),
        "Decode at depth (ms a step)": decoding(found, "decode"),
        "Prefill (ms)": prefill(found),
        "Decode attention alone (us)": attention(found),
        "Launches of a decode step": launches(found),
        "Formats at depth (ms a step)": decoding(found, "formats"),
        "Larger models (ms a step)": decoding(found, "large"),
        "Memory (MB)": memory(found),
        "Other runners (ms a token)": generations(found, "peers", "graph-triton"),
        "Counters": counters(folder),
        "Not measured": missing(found),
    }
    sections = {title: list(lines) for title, lines in parts.items()}
    return "\n\n".join(
        f"## {title}\n" + "\n".join(lines) for title, lines in sections.items() if lines
    )


def steps(found: Evidence) -> Lines:
    """How each step ended."""
    states = found.state.items()
    yield " · ".join(f"{name} {one['status']} {one['seconds']:.0f} s" for name, one in states)


def machine(found: Evidence) -> Lines:
    """Device, versions and measured bandwidth."""
    if not found.facts:
        return
    roofs, packages = found.facts["roofs"], found.facts["packages"]
    versions = ", ".join(f"{name} {packages[name]}" for name in ("torch", "triton", "transformers"))
    yield f"{roofs['device_name']}, {versions}, commit {roofs['commit']}"
    yield (
        f"read {roofs['read_gb_s']:.0f} GB/s ({roofs['read_by']}), copy {roofs['copy_gb_s']:.0f} "
        f"GB/s, {roofs['dtype']} product {roofs['gemm_gflop_s'] / 1e3:.0f} TFLOP/s"
    )
    yield ", ".join(f"{name} {value}" for name, value in found.facts["driver_after"].items())


def tests(found: Evidence) -> Lines:
    """Counts of the GPU tests, and the names of those that failed."""
    path = found.folder / "gpu-tests.xml"
    if not path.exists():
        return
    cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    red = [case for case in cases if any(part.tag in ("failure", "error") for part in case)]
    skipped = [case for case in cases if any(part.tag == "skipped" for part in case)]
    passed = len(cases) - len(red) - len(skipped)
    late = found.state.get("tests", {}).get("status") == "out of time"
    ended = ", the others ran out of time" if late else ""
    yield f"{passed} passed, {len(red)} failed, {len(skipped)} skipped{ended}"
    yield from (f"- failed: {case.get('classname')}::{case.get('name')}" for case in red[:FAILED])


def rows(folder: Path) -> Lines:
    """The speed targets of a GPU."""
    for row in report.read(folder / "speed.json"):
        yield "    " + report.line(row)


def decoding(found: Evidence, group: str) -> Lines:
    """Steps of one depth: times, shares of the floor, speed-ups over v1 beside their ceilings."""
    cells = found.cells(group)
    for name, blocks in cells.items():
        record = next(iter(blocks.values()))
        if "phase" in record:
            continue
        cost = _cost(record, record["depth"])
        step = interval([_times(one) for one in blocks.values()])
        line = f"- {name}: {_span(step.point, step.low, step.high)}, {cost.bytes / 1e6:.4g} MB"
        line += _share(found, cost, step.point)
        base = cells.get(name.replace(f" {record['version']} ", " v1 "), {})
        if record["version"] != "v1" and base:
            most = ceiling(_cost(next(iter(base.values())), record["depth"]), cost)
            line += _over(base, blocks, _times, "v1") + f" of at most {most:.2f}"
        ours = cells.get(name.replace(" graph-torch ", " graph-triton "), {})
        if ours is not blocks:
            line += _over(ours, blocks, _times, "graph-triton")
        yield line


def prefill(found: Evidence) -> Lines:
    """A version's prefill, and over v1's."""
    cells = {n: b for n, b in found.cells("decode").items() if "phase" in next(iter(b.values()))}
    for name, blocks in cells.items():
        version = next(iter(blocks.values()))["version"]
        step = interval([_device_ms(one) for one in blocks.values()])
        line = f"- {name}: {_span(step.point, step.low, step.high)}"
        base = cells.get(name.replace(f" {version} ", " v1 "), {})
        if base is not blocks and (both := [b for b in blocks if b in base]):
            a, b = ([_device_ms(side[block]) for block in both] for side in (blocks, base))
            ratio = compare(a, b)
            line += f"; over v1's {_span(ratio.ratio, ratio.low, ratio.high)}"
        yield line


def _device_ms(record: Record) -> list[float]:
    return [run["device_ms"] for run in record["runs"]]


def generations(found: Evidence, group: str, than: str) -> Lines:
    """Whole generations: time a token, its share of the floor, and against one way to run it."""
    cells = found.cells(group)
    for name, blocks in cells.items():
        record = next(iter(blocks.values()))
        step = interval([_tpots(one) for one in blocks.values()])
        cost = _cost(record, record["prompt_length"] + record["T"] // 2)
        line = f"- {name}: {_span(step.point, step.low, step.high)}"
        line += _share(found, cost, step.point)
        line += f", TTFT {median(one['ttft_ms_median'] for one in blocks.values()):.2f}"
        for key in ("compile_s", "capture_s"):
            line += f", {key} {record[key]:.1f}" if key in record else ""
        base = _base(cells, record, than, group)
        if base is not blocks:
            line += _over(base, blocks, _tpots, than)
        line += _joules(blocks)
        if "tokens_equal" in record:
            at = record["first_difference"]
            line += ", tokens equal" if at is None else f", tokens differ from {at} on"
        yield line


def _joules(blocks: dict[str, Record]) -> str:
    """Energy of a decoded token, where a counter read it."""
    joules_of = [one.get("energy", {}).get("decode_j_per_token") for one in blocks.values()]
    each = [[joules] for joules in joules_of if joules is not None and joules > 0]
    if not each:
        return ""
    found = interval(each)
    return f", {_span(found.point, found.low, found.high)} J a token"


def _base(
    cells: dict[str, dict[str, Record]], record: Record, than: str, group: str
) -> dict[str, Record]:
    """The cells to hold a generation against: the same version's, or v1's beside other runners."""
    version = "v1" if group == "peers" else record["version"]
    like = f"{record['pretrained']} {version} {than} "
    return next((blocks for name, blocks in cells.items() if name.startswith(like)), {})


def attention(found: Evidence) -> Lines:
    """Each format's fastest setting, and its bytes over the bandwidth."""
    measured = [line for line in found.lines if line["group"] == "attention"]
    for name in dict.fromkeys(line["name"] for line in measured):
        its = [line for line in measured if line["name"] == name]
        us, first = interval([[line["us"]] for line in its]), its[0]
        line = f"- {name}, batch {first['batch_size']}, depth {first['depth']}: "
        line += f"{_span(us.point, us.low, us.high)}, {first['bytes'] / 1e6:.4g} MB"
        if found.read_gb_s:
            least = first["bytes"] / found.read_gb_s / 1e3
            line += f", share of the read bandwidth {least / us.point:.3f}"
        yield line


def launches(found: Evidence) -> Lines:
    """Kernels a layer and a step."""
    for row in found.launches:
        yield (
            f"- gpt2 {row['version']} {row['mode']} B {row['batch_size']}: {row['a_layer']:g} "
            f"{row['counts']} a layer, {row['a_step']:g} a step of {row['n_layer']} layers"
        )


def memory(found: Evidence) -> Lines:
    """What was held at the peak, and what v1 held over it."""
    cells = found.cells("memory")
    peaks = {name: next(iter(blocks.values())) for name, blocks in cells.items()}
    for name, record in peaks.items():
        parts = {
            "peak": record["peak_memory_bytes"],
            "weights and prompt": record["baseline_memory_bytes"],
            "cache": record["cache_reserved_bytes"],
            "used of it": record["cache_used_bytes"],
            "transient": record["transient_bytes"],
        }
        yield f"- {name}: " + ", ".join(f"{part} {n / 1e6:.2f}" for part, n in parts.items())


def counters(folder: Path) -> Lines:
    """Nsight Compute's totals beside the cost model."""
    path, per_inst = folder / "ncu/calibration.json", None
    if path.exists():
        calibration = json.loads(path.read_text())
        counters = len(calibration["metrics"])
        yield f"- calibration: ratio {calibration['ratio']:.4f}, {counters} counters"
        per_inst = calibration["flop_per_tensor_inst"]
    for path in sorted(folder.glob("ncu/*.run.json")):
        ran = json.loads(path.read_text())
        csv = path.with_name(path.name.replace(".run.json", ".csv"))
        if not csv.exists():
            continue
        total = parse(csv, flop_per_tensor_inst=per_inst, families=True)
        yield (
            f"- {csv.stem}: {total['launches']} launches, {total['time_ns'] / 1e3:.0f} us of "
            f"kernels ({ran['wall_ms_median'] * 1e3:.0f} us by the wall without ncu), DRAM "
            f"{total['dram_bytes'] / 1e6:.1f} MB of {ran['bytes'] / 1e6:.1f} modelled, "
            f"{ran['ncu']['passes']} passes"
        )
        longest = sorted(total["kernels"], key=lambda kernel: -kernel["time_ns"])[:KERNELS]
        for kernel in longest:
            us, mb = kernel["time_ns"] / 1e3, kernel["dram_bytes"] / 1e6
            yield f"  - {kernel['launches']} x {kernel['name'][:70]}: {us:.1f} us, {mb:.1f} MB"


def missing(found: Evidence) -> Lines:
    """Cells without a measurement, and why."""
    for line in found.lines:
        record = line.get("record", {})
        why = line.get("error") or record.get("error")
        if why:
            yield f"- {line['name']} ({line['step']}): {why} {record.get('error_detail', '')}"


def _cost(record: Record, depth: int) -> Cost:
    return forward(**cost_inputs(record), depth=depth, T=1)


def _times(record: Record) -> list[float]:
    return [run["tpot_ms"] for run in record["runs"]]


def _tpots(record: Record) -> list[float]:
    """Each run's mean decode step, with the pick of a token where it is apart from the step."""
    return [
        fmean(run["step_ms"][1:]) + run["sampling_ms"] / len(run["step_ms"])
        for run in record["runs"]
    ]


def _over(
    base: dict[str, Record], blocks: dict[str, Record], times: Callable[..., Any], name: str
) -> str:
    """The ratio of times, `name`'s over these, in the processes that measured both."""
    both = [block for block in base if block in blocks]
    if not both:
        return ""
    ratio = compare([times(base[b]) for b in both], [times(blocks[b]) for b in both])
    return f"; {name} over it {_span(ratio.ratio, ratio.low, ratio.high)}"


def _share(found: Evidence, cost: Cost, ms: float) -> str:
    if not found.read_gb_s:
        return ""
    return f", share of the floor {cost.bytes / found.read_gb_s / 1e6 / ms:.3f}"


def _span(point: float, low: float | None, high: float | None) -> str:
    return f"{point:.4g}" + ("" if low is None else f" [{low:.4g}, {high:.4g}]")


if __name__ == "__main__":
    print(summary(Path(sys.argv[1])))
