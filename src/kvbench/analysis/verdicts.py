"""Which version is faster than which: one word per pair, beside what bytes and FLOP allow.

A record of verdicts holds every comparison of one preset at one adjusted level, so that tables and
figures that show an interval show the one its word was read from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict

from kvbench.analysis.bounds import cell_costs
from kvbench.analysis.drift import Exponents, Work, compare_cells, exponents, uses_yardstick
from kvbench.analysis.implementations import implementations
from kvbench.analysis.rounds import (
    UnpairedError,
    by_place,
    minutes_a_round,
    pairs,
    rounds,
    side_by_side,
)
from kvbench.analysis.table import Table
from kvbench.analysis.verdict_notes import counted, notes
from kvbench.costs.forward import generation_ceiling
from kvbench.records.record import SHARED, Record, apart, is_error, measured
from kvbench.stats import stopping
from kvbench.stats.decisions import (
    FASTER,
    SLOWER,
    Verdict,
    replicates_needed,
    smallest_detectable,
    verdicts,
)
from kvbench.stats.moderated import moderated
from kvbench.stats.paired import Comparison

ALPHA = 0.05  # of all words other than inconclusive, at most this share is expected to be wrong
ABOVE = "error: above ceiling"
IMPLEMENTATIONS = "implementations differ"  # in a word's place: it would not be of the caches
MOST = 1000  # replicates beyond which nobody measures


def judge(
    cells: Sequence[Record],
    margin: float,
    controls: Record | None = None,
    alpha: float = ALPHA,
    wanted: Callable[[Sequence[str]], list[tuple[str, str]]] = pairs,
    drift: dict[Work, Exponents] | None = None,
) -> Record:
    """The verdicts on timed cells of one preset, one family over every batch, T or depth, and pair.

    `wanted` gives the pairs to compare, of the versions at one place, and `drift` how the machine's
    pace is taken out, by default as these cells show (`kvbench.analysis.drift.exponents`).
    `controls` is a record of `judge_controls`, whose counts the result repeats. A speed-up is the
    baseline's time over the version's, of processes that ran in one round; a pair without such a
    round gets no speed-up and no word, but the reason.
    """
    rows, limits, unlike = [], [], []
    compared: list[tuple[Record, Comparison]] = []
    drift = exponents(cells) if drift is None else drift
    for where, here in by_place(cells):
        of = {cell["version"]: cell for cell in here}
        costs = {version: cell_costs(cell) for version, cell in of.items() if not is_error(cell)}
        judged, found = [], []
        for version, baseline in wanted(list(of)):
            row = {**where, "version": version, "baseline": baseline}
            lost = [name for name in (version, baseline) if is_error(of[name])]
            if lost:
                row["verdict"] = f"not compared: {lost[0]} {of[lost[0]]['error']}"
            elif comparison := _compared(row, of[version], of[baseline], drift, margin):
                judged.append(row)
                found.append(comparison)
                limits.append(generation_ceiling(costs[baseline], costs[version]))
                unlike += [row] if implementations(of[version], of[baseline]) else []
            rows.append(row)
        compared += zip(judged, moderated(found), strict=True)
    level = attach_verdicts(compared, margin, alpha)
    for row in unlike:
        row["verdict"] = IMPLEMENTATIONS
    for (row, _), (ceiling, limit) in zip(compared, limits, strict=True):
        row |= {"ceiling": ceiling, "ceiling_from": limit}
        row["share_of_ceiling"] = row["speedup"] / ceiling
        beyond = row["speedup_low"] is not None and row["speedup_low"] > row["ceiling"]
        row["flag"] = ABOVE if beyond else None
    seen = _detectable([comparison for _, comparison in compared], cells, alpha)
    for row, _ in compared:  # beside every word: below this it could hardly have been another one
        row["smallest_detectable"] = seen["family"]["relative"] if seen else None
    return _record("verdicts", cells, rows, level, margin) | {
        "detectable": seen,
        "rounds": _rounds([comparison for _, comparison in compared], cells),
        "controls": counted(controls["rows"]) if controls else [],
    }


def table(records: Sequence[Record], margin: float, by_width: bool = False) -> Table:
    """The verdicts on the latency and decode cells among `records`, and on controls if there.

    `by_width`: the study goes on until intervals are narrow, so that words are read at a stricter
    level from the round on at which widths are looked at.
    """
    cells, controls = apart(records, "controls")
    looked = by_width and _fewest(cells) >= stopping.FIRST
    alpha = stopping.ALPHA if looked else ALPHA
    record = judge(cells, margin, next(iter(controls), None), alpha)
    return _table("Verdicts", record, cells)


def controls_table(records: Sequence[Record], margin: float) -> Table:
    """The comparison of v1 with its controls."""
    record = judge_controls(records, margin)
    return _table("Controls", record, records)


def _table(name: str, record: Record, cells: Sequence[Record]) -> Table:
    title = f"{name} on {record['pretrained']}"
    return Table(title, record["rows"], notes(record), cells, record)


def judge_controls(cells: Sequence[Record], margin: float) -> Record:
    """Whether v1 against itself shows no difference, and a known delay shows as one.

    `cells` are v1 and its controls, measured in one set of blocks; `delay` is the share by which a
    control's steps are longer. `detectable` is what this machine finds four times in five, from
    the spread of v1 against itself (`log_ratios`, per process); None for one replicate.
    """
    compared: list[tuple[Record, Comparison]] = []
    rows, drift = [], exponents(cells)
    for where, here in by_place(measured(cells)):
        of = {cell["version"]: cell for cell in here}
        judged, found = [], []
        for control in (name for name in of if name != "v1" and "v1" in of):
            row = {"control": control, **where, "delay": of[control]["delay"]}
            row["expected"] = SLOWER if row["delay"] else "no difference"
            if comparison := _compared(row, of[control], of["v1"], drift, margin):
                judged.append(row)
                found.append(comparison)
            rows.append(row)
        compared += zip(judged, moderated(found), strict=True)
    level = attach_verdicts(compared, margin)
    for row in rows:
        none_shown = "speedup" in row and row["verdict"] not in (FASTER, SLOWER)
        good = row["verdict"] == SLOWER if row["expected"] == SLOWER else none_shown
        row["as_expected"] = "yes" if good else "no"
    same = [comparison for row, comparison in compared if not row["delay"]]
    shown = {"detectable": _detectable(same, cells), "log_ratios": [c.log_ratios for c in same]}
    return _record("controls", cells, rows, level, margin) | shown


def _compared(
    row: Record, a: Record, b: Record, drift: dict[Work, Exponents], margin: float
) -> Comparison | None:
    """The comparison of two cells; None where they do not compare, and the row says why.

    `row` gets what a reader must know of the pair: disturbed processes, rounds left out, kernels.
    """
    a, b = side_by_side(a, b)
    try:
        shared = rounds(a, b)
    except UnpairedError as reason:
        row["verdict"] = str(reason)
        return None
    comparison = compare_cells(a, b, drift, margin)
    at_one_pace = uses_yardstick(a, b, drift)
    clock = compare_cells(a, b, drift, by_clock=True) if at_one_pace else None
    row["clock_speedup"] = 1 / clock.ratio if clock else None
    remarks = [shared.remark] if shared.remark else []
    if differ := implementations(a, b):
        remarks.append(differ)
    row["disturbed"] = a.get("disturbed", 0) + b.get("disturbed", 0)
    row["remark"] = "; ".join(remarks) or None
    return comparison


def _rounds(compared: Sequence[Comparison], cells: Sequence[Record]) -> Record | None:
    """What tells whether another round is worth its time (`stats.stopping`); None without a pair.

    `widest` is None where an interval has no end yet.
    """
    if not compared:
        return None
    widest = max(map(stopping.half_width_of, compared))
    return {
        "measured": _fewest(cells),
        "widest": widest if math.isfinite(widest) else None,
        "minutes": minutes_a_round(cells),
    }


def _fewest(cells: Sequence[Record]) -> int:
    """Processes that every cell has been measured in; 0 without a cell."""
    return min((cell.get("replicates", 1) for cell in measured(cells)), default=0)


def _detectable(
    compared: Sequence[Comparison], cells: Sequence[Record], alpha: float = ALPHA
) -> Record | None:
    """What rows of this spread can show, alone and as a family, what would halve it; or None."""
    several = [c for c in compared if c.replicates > 1]
    if not several:
        return None
    alone, family = (smallest_detectable(several, alpha=alpha, of=n) for n in (1, len(several)))
    half = family.relative / 2
    wanted = replicates_needed(half, family.sd, alpha / len(several), most=MOST)
    a_round = minutes_a_round(cells)
    more = None
    if wanted is not None and a_round is not None:
        more = a_round * max(0, wanted - family.replicates)
    return {
        "alone": asdict(alone),
        "family": asdict(family),
        "replicates_to_halve": wanted,
        "minutes_to_halve": more,
    }


def attach_verdicts(
    compared: Sequence[tuple[Record, Comparison]], margin: float, alpha: float = ALPHA
) -> float:
    """Write each comparison's word and interval into its row; the level they all have."""
    found = verdicts([comparison for _, comparison in compared], alpha, margin)
    for (row, _), verdict in zip(compared, found, strict=True):
        last = {key: row.pop(key) for key in ("disturbed", "remark")}
        row |= {
            **speedup(verdict),
            "verdict": verdict.word,
            "clock_speedup": row.pop("clock_speedup"),  # its place in the table
            "replicates": verdict.replicates,
            "p_adjusted": verdict.p_adjusted,
            **last,
        }
    return found[0].level if found else 1 - alpha


def speedup(of: Verdict | Comparison) -> Record:
    """The speed-up of a over b, b's time over a's, with its interval: of a ratio of times a / b."""
    low, high = (None if end is None else 1 / end for end in (of.high, of.low))
    return {"speedup": 1 / of.ratio, "speedup_low": low, "speedup_high": high}


def _record(
    name: str, cells: Sequence[Record], rows: list[Record], level: float, margin: float
) -> Record:
    about = next(iter(measured(cells)), cells[0])
    shared = {key: about.get(key) for key in SHARED}
    return {**shared, "benchmark_name": name, "level": level, "margin": margin, "rows": rows}
