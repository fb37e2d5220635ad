"""The headline numbers of a folder of evidence, every one worked out from the records in it.

    python -m perf.evidence.summary FOLDER

Times are medians; brackets are 95 % intervals over processes; a ratio is taken within processes.
A share of the floor is the time that the step's compulsory bytes (`kvbench.costs`) take at the read
bandwidth measured in the same folder, over the step's time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

from kvbench.ncu import parse
from kvbench.stats.paired import compare, interval
from perf import report
from perf.evidence.found import (
    Evidence,
    baseline,
    cost_of,
    device_ms,
    joules,
    over,
    share,
    span,
    step_ms,
    token_ms,
)

Lines = Iterator[str]
FAILED = 25  # names of failed tests that are listed
KERNELS = 8  # of a profiled step, the longest


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
        cost = cost_of(record, record["depth"])
        step = interval([step_ms(one) for one in blocks.values()])
        line = f"- {name}: {span(step.point, step.low, step.high)}, {cost.bytes / 1e6:.4g} MB"
        line += share(found, cost, step.point)
        base = cells.get(name.replace(f" {record['version']} ", " v1 "), {})
        if record["version"] != "v1" and base:
            most = cost_of(next(iter(base.values())), record["depth"]).bytes / cost.bytes
            line += over(base, blocks, step_ms, "v1") + f" of at most {most:.2f}"
        ours = cells.get(name.replace(" graph-torch ", " graph-triton "), {})
        if ours is not blocks:
            line += over(ours, blocks, step_ms, "graph-triton")
        yield line


def prefill(found: Evidence) -> Lines:
    """A version's prefill, and over v1's."""
    cells = {n: b for n, b in found.cells("decode").items() if "phase" in next(iter(b.values()))}
    for name, blocks in cells.items():
        version = next(iter(blocks.values()))["version"]
        step = interval([device_ms(one) for one in blocks.values()])
        line = f"- {name}: {span(step.point, step.low, step.high)}"
        base = cells.get(name.replace(f" {version} ", " v1 "), {})
        if base is not blocks and (both := [b for b in blocks if b in base]):
            a, b = ([device_ms(side[block]) for block in both] for side in (blocks, base))
            ratio = compare(a, b)
            line += f"; over v1's {span(ratio.ratio, ratio.low, ratio.high)}"
        yield line


def generations(found: Evidence, group: str, than: str) -> Lines:
    """Whole generations: time a token, its share of the floor, and against one way to run it."""
    cells = found.cells(group)
    for name, blocks in cells.items():
        record = next(iter(blocks.values()))
        step = interval([token_ms(one) for one in blocks.values()])
        cost = cost_of(record, record["prompt_length"] + record["T"] // 2)
        line = f"- {name}: {span(step.point, step.low, step.high)}"
        line += share(found, cost, step.point)
        line += f", TTFT {median(one['ttft_ms_median'] for one in blocks.values()):.2f}"
        for key in ("compile_s", "capture_s"):
            line += f", {key} {record[key]:.1f}" if key in record else ""
        base = baseline(cells, record, than, group)
        if base is not blocks:
            line += over(base, blocks, token_ms, than)
        line += joules(blocks)
        if "tokens_equal" in record:
            at = record["first_difference"]
            line += ", tokens equal" if at is None else f", tokens differ from {at} on"
        yield line


def attention(found: Evidence) -> Lines:
    """Each format's fastest setting, and its bytes over the bandwidth."""
    measured = [line for line in found.lines if line["group"] == "attention"]
    for name in dict.fromkeys(line["name"] for line in measured):
        its = [line for line in measured if line["name"] == name]
        us, first = interval([[line["us"]] for line in its]), its[0]
        line = f"- {name}, batch {first['batch_size']}, depth {first['depth']}: "
        line += f"{span(us.point, us.low, us.high)}, {first['bytes'] / 1e6:.4g} MB"
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


if __name__ == "__main__":
    print(summary(Path(sys.argv[1])))
