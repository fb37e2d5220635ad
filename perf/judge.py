"""From the samples of a row's processes to the row: a number, its interval, whether it passed.

A row passes where the whole 95 % interval lies on the target's side, not where its middle does: it
is what was shown. A row of several points is judged at the one whose interval reaches least.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Any

from kvbench.stats.paired import compare, interval
from perf.targets import AT_MOST, EXACTLY, Target

FORBIDDEN = "forbidden by its bound"
Sample = dict[str, Any]  # what a measuring function returns
Point = dict[str, Any]  # measured, low, high; low and high None where one process tells no spread


def judged(name: str, target: Target, samples: list[Sample]) -> dict[str, Any]:
    """The row of a target that was measured: one sample a process."""
    clock, points = "wall", {}
    if "pairs" in samples[0]:
        clock = clock_of(samples, target.settings.get("device", "cpu"))
        for where in samples[0]["pairs"]:
            above, below = (
                [s["pairs"][where][side][clock] for s in samples] for side in ("above", "below")
            )
            found = compare(above, below)
            points[where] = {"measured": found.ratio, "low": found.low, "high": found.high}
    elif "values" in samples[0]:
        cell = interval([sample["values"] for sample in samples])
        points[""] = {"measured": cell.point, "low": cell.low, "high": cell.high}
    else:
        points = {
            k: dict.fromkeys(("measured", "low", "high"), v) for k, v in samples[0]["exact"].items()
        }
    where = worst(target, points)
    bound = bound_of(target, samples, where, "device" if clock == "device" else "wall")
    if target.share is not None and bound is not None:
        target = replace(target, reach=target.share * bound)
    return {
        **about(name, target),
        **points[where],
        "bound": bound,
        **verdict(target, points[where], bound),
        "at": where or None,
        "points": points if len(points) > 1 else None,
        "clock": clock,
        "processes": len(samples),
        "disturbed": sum(bool(sample.get("disturbed_by")) for sample in samples),
        "ran": samples[0].get("ran"),
        "samples": [kept(sample) for sample in samples],
        "machine": samples[0]["machine"],
    }


def kept(sample: Sample) -> Sample:
    """What a row keeps of a process: all that its numbers are worked out from."""
    read = {"read_gb_s": sample["machine"].get("read_gb_s")}
    return {key: sample[key] for key in ("pairs", "values", "bytes") if key in sample} | read


def not_measured(name: str, target: Target, reason: str, machine: dict[str, Any]) -> dict[str, Any]:
    """The row of a target that this machine cannot measure, and why."""
    nothing = dict.fromkeys(("measured", "low", "high", "passed", "verdict"))
    row = {**about(name, target), **nothing, "bound": target.bound}
    return row | {"reason": reason, "machine": machine}


def about(name: str, target: Target) -> dict[str, Any]:
    """What a row says of its target, measured or not."""
    return {
        "row": name,
        "what": target.what,
        "target": target.reach,
        "share": target.share,
        "sense": target.sense,
        "unit": target.unit,
    }


def bound_of(target: Target, samples: list[Sample], where: str, clock: str) -> float | None:
    """The best that a row could show: its bytes', or the target's.

    Over another runner, its own step's time over the time that our step's compulsory `bytes` take
    at the bandwidth that this machine read in the same process; the median over processes.
    """
    if "bytes" not in samples[0]:
        return samples[0].get("bounds", {}).get(where, target.bound)
    return median(
        median(s["pairs"][where]["above"][clock])
        * max(s["machine"]["read_gb_s"])
        * 1e6
        / s["bytes"]
        for s in samples
    )


def clock_of(samples: list[Sample], device: str) -> str:
    """The clock that a row is judged by: the wall's where no better one is on every side.

    On a GPU its own, and never the host's CPU time, which says nothing of it. On a CPU the
    process's CPU time where a process was disturbed.
    """
    disturbed = any(sample.get("disturbed_by") for sample in samples)
    sides = [side for s in samples for pair in s["pairs"].values() for side in pair.values()]
    better = "device" if device == "cuda" else "cpu" if disturbed else "wall"
    return better if all(better in side for side in sides) else "wall"


def worst(target: Target, points: dict[str, Point]) -> str:
    """The point that is furthest from passing."""
    if target.sense == EXACTLY:
        return max(points, key=lambda at: abs(points[at]["measured"] - (target.reach or 0.0)))
    most = target.sense == AT_MOST
    ends = {at: _end(point, "high" if most else "low") for at, point in points.items()}
    return (max if most else min)(ends, key=lambda at: ends[at])


def verdict(target: Target, point: Point, bound: float | None = None) -> dict[str, Any]:
    """`passed`, and the word: met, missed, or inconclusive where the interval holds the target.

    What is not met is forbidden where the row's own bound lies short of the target. Without a
    target, and without an interval, there is no verdict.
    """
    reach = target.reach
    if reach is None or point["low"] is None:
        return {"passed": None, "verdict": None}
    if target.sense == EXACTLY:
        met = point["measured"] == reach
        return {"passed": met, "verdict": "met" if met else "missed"}
    low, high = point["low"] - reach, point["high"] - reach
    if target.sense == AT_MOST:
        low, high = -high, -low
    word = "met" if low >= 0 else "missed" if high < 0 else "inconclusive"
    if word != "met" and bound is not None:
        short = bound > reach if target.sense == AT_MOST else bound < reach
        word = FORBIDDEN if short else word
    return {"passed": word == "met", "verdict": word}


def _end(point: Point, end: str) -> float:
    return point["measured"] if point[end] is None else point[end]
