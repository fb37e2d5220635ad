"""Which processes of two cells ran side by side: in one round, on one device, since one boot.

Drift hits two versions alike where nothing but their own round lies between them. A replicate's
number does not say so: a version measured again on another day keeps its numbers. Stdlib only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

from kvbench.records.record import Record

APART = "not side by side"
PAUSE_S = 600.0  # two processes of a round may begin this far apart,
PAUSES = 10  # or this many times as far as is usual for the two cells


class UnpairedError(ValueError):
    """Two cells without a round in common: their ratio would be of two machines or two days."""


@dataclass(frozen=True)
class Rounds:
    """Replicates of which both processes ran in one round, and why the others did not."""

    replicates: list[int]
    remark: str | None


def rounds(a: Record, b: Record) -> Rounds:
    """The rounds that two cells have in common.

    Two processes of one replicate share a round where device and boot are the same, no process of
    another replicate of the two cells began between them on that device, by the clock or by its
    place in the queue, and the pause between them is not out of all proportion. Raises
    UnpairedError, saying why, where there is none.
    """
    sides = [{p["replicate"]: _Process.of(p, cell) for p in cell["processes"]} for cell in (a, b)]
    both = sorted(set(sides[0]) & set(sides[1]))
    if not both:
        owned = " and ".join(
            f"{cell['version']} has {', '.join(map(str, sorted(side)))}"
            for cell, side in zip((a, b), sides, strict=True)
        )
        raise UnpairedError(f"{APART}: no replicate in common ({owned})")
    pairs = {r: (sides[0][r], sides[1][r]) for r in both}
    pauses = [
        abs(x.began - y.began)
        for x, y in pairs.values()
        if x.began is not None and y.began is not None
    ]
    longest = max(PAUSE_S, PAUSES * median(pauses)) if pauses else PAUSE_S
    every = [(r, process) for side in sides for r, process in side.items()]
    why: dict[str, list[int]] = {}
    for r, (x, y) in pairs.items():
        others = [process for other, process in every if other != r]
        if reason := _why_apart(x, y, others, longest):
            why.setdefault(reason, []).append(r)
    left = {r for replicates in why.values() for r in replicates}
    said = "; ".join(
        f"{reason} (replicate{'s' * (len(those) > 1)} {', '.join(map(str, those))})"
        for reason, those in why.items()
    )
    if len(left) == len(both):
        raise UnpairedError(f"{APART}: {said}")
    return Rounds([r for r in both if r not in left], f"left out, {said}" if said else None)


def pairs(versions: Sequence[str]) -> list[tuple[str, str]]:
    """(version, baseline): v1 against v0, the others against v1; without v1 against the first."""
    if "v1" not in versions:
        return [(version, versions[0]) for version in versions[1:]]
    first = [("v1", "v0")] if "v0" in versions else []
    return first + [(version, "v1") for version in versions if version not in ("v0", "v1")]


def by_place(cells: Sequence[Record]) -> list[tuple[Record, list[Record]]]:
    """Cells that are compared with one another, beside where: batch, and T or depth."""
    places: dict[tuple[Any, ...], list[Record]] = {}
    for cell in cells:
        key = (cell["batch_size"], cell.get("T"), cell.get("depth"))
        places.setdefault(key, []).append(cell)
    names = ("batch_size", "T", "depth")
    return [
        ({name: value for name, value in zip(names, key, strict=True) if value is not None}, here)
        for key, here in places.items()
    ]


def side_by_side(a: Record, b: Record) -> tuple[Record, Record]:
    """The two cells, each with those of its processes that ran beside the other's.

    A cell that was measured again alone has its counterpart's processes beside its own
    (`kvbench.job.partners`). Where more rounds are in common that way than between the cells
    themselves, these stand in for the counterpart's own.
    """
    choices = [(a, b), (a, _measured_with(a, b)), (_measured_with(b, a), b)]
    return max(choices, key=lambda pair: _in_common(*pair))  # of equals the first


def _measured_with(cell: Record, other: Record) -> Record:
    """`other`, as far as it was measured beside `cell`, by the same code with the same settings."""
    key = (other.get("provenance") or {}).get("key")
    found = [
        {**process, "replicate": own["replicate"], "place_in_line": own.get("place_in_line")}
        for own in cell["processes"]
        for process in own.get("partners", [])
        if process["version"] == other["version"] and process["key"] == key
    ]
    disturbed = sum(process["machine_state"]["disturbed"] for process in found)
    return {**other, "processes": found, "replicates": len(found), "disturbed": disturbed}


def _in_common(a: Record, b: Record) -> int:
    try:
        return len(rounds(a, b).replicates)
    except UnpairedError:
        return 0


def minutes_a_round(cells: Sequence[Record]) -> float | None:
    """What one more process of every cell takes, in minutes; None where one process is all.

    Of each cell the median time from the beginning of its processes to that of the next process
    of the study.
    """
    began = [
        (at, number)
        for number, cell in enumerate(cells)
        for process in cell.get("processes", [])
        if (at := _Process.of(process, cell).began) is not None
    ]
    lasted: dict[int, list[float]] = {}
    for (at, number), (following, _) in pairwise(sorted(began)):
        lasted.setdefault(number, []).append(following - at)
    return sum(map(median, lasted.values())) / 60 if lasted else None


@dataclass(frozen=True)
class _Process:
    """Where and when one process ran, as far as its record tells."""

    began: float | None
    place: float | None
    device: str | None
    boot: str | None

    @classmethod
    def of(cls, process: Record, cell: Record) -> _Process:
        state = process.get("machine_state") or {}
        device = state.get("device_id")
        if not str(device).startswith(("GPU-", "MIG-")):  # an index tells two machines not apart
            device = f"{device} {cell.get('device_uuid')}"
        return cls(
            _seconds(state.get("began_at")),
            process.get("place_in_line"),
            device,
            state.get("boot_id"),
        )


def _seconds(moment: Any) -> float | None:
    try:
        return datetime.fromisoformat(moment).timestamp()
    except (TypeError, ValueError):
        return None


def _why_apart(x: _Process, y: _Process, others: list[_Process], longest: float) -> str | None:
    """Why two processes are not of one round, or None."""
    if x.began is None or y.began is None:
        return "no time of beginning in the record"
    if x.device != y.device:
        return "two devices"
    if x.boot != y.boot:
        return "the machine was started anew between them"
    here = [other for other in others if other.device == x.device]
    for mine, yours, theirs in (
        (x.began, y.began, [other.began for other in here]),
        (x.place, y.place, [other.place for other in here]),
    ):
        if mine is None or yours is None:
            continue
        first, last = sorted((mine, yours))
        if any(at is not None and first < at < last for at in theirs):
            return "other rounds ran between them"
    if abs(x.began - y.began) > longest:
        return f"begun {_long(abs(x.began - y.began))} apart"
    return None


def _long(seconds: float) -> str:
    """A duration in its natural unit."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"
