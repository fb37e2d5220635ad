"""Whether a version keeps the quality that a study asks for: PASS, FAIL or INCONCLUSIVE.

A word is read off an interval and nothing else: the whole of it within the margin passes, the whole
beyond it fails. A gate that would pass a cache of corrupted codes as well is not sensitive, and
says so in the place of PASS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kvbench.analysis import retrieval
from kvbench.analysis.false_failures import at_margin, of_itself
from kvbench.records.record import SHARED, Record, Row, apart, is_error, measured

PASS, FAIL, INCONCLUSIVE = "PASS", "FAIL", "INCONCLUSIVE"
NOT_SENSITIVE = "not sensitive"
WORST_FIRST = (FAIL, NOT_SENSITIVE, INCONCLUSIVE, PASS)
REFERENCE = "v1"
SCORED = ("perplexity", "retrieval")  # whose cells are judged
LEVEL = 0.95  # of the intervals


@dataclass(frozen=True)
class Gate:
    """One margin: what it bounds, in full and for a narrow column, and the value of no change.

    `part` names the figure among those that are paired with v1, `value` its key there, and
    `windows` what a record has for every window; both are empty for retrieval.
    """

    name: str
    short: str
    part: str
    value: str = "mean"
    windows: str = ""
    none: float = 0.0
    percent: bool = False


GATES = {
    "max_ppl_ratio": Gate(
        "perplexity ratio", "ratio", "perplexity_ratio", "ratio", "delta_nll", 1.0
    ),
    "max_kl": Gate("KL", "KL", "kl", windows="kl"),
    "max_flips": Gate("flips", "flips", "flips", windows="flips", percent=True),
    "max_retrieval_lost": Gate("retrieval lost", "lost", "", percent=True),
}
# What a study asks for where it does not say: the defaults of config/schema.yaml.
DEFAULTS: dict[str, float | None] = {
    "max_ppl_ratio": 1.01,
    "max_kl": None,
    "max_flips": 0.05,
    "max_retrieval_lost": 0.1,
}


def word(low: float | None, high: float | None, margin: float) -> str:
    """The word of an interval against the margin that it may reach but not cross."""
    if low is None or high is None:
        return INCONCLUSIVE
    return PASS if high <= margin else FAIL if low > margin else INCONCLUSIVE


def overall(words: Sequence[str]) -> str | None:
    """The word of a version that was judged by several gates; None without any."""
    return next((worst for worst in WORST_FIRST if worst in words), None)


def judge(
    records: Sequence[Record], margins: Mapping[str, float | None], drawn: bool = True
) -> Record:
    """The record of one preset's gates, from its perplexity and retrieval cells.

    rows: for every gate that was asked for and measured, v1 against itself (`floor` alone), then
    each version: value, interval, margin, the value of v1 against itself and of a corrupted cache,
    and the word. versions: each version's word over all gates. `drawn`: whether texts are drawn
    again for the rates of false failures, which takes a second or so.
    """
    scored, found = apart(records, "retrieval")
    cells = {cell["version"]: cell for cell in measured(scored)}
    asked = {cell["version"]: cell for cell in measured(found)}
    rows = [
        row
        for key, margin in margins.items()
        if margin is not None
        for row in (
            _retrieval_rows(asked, key, margin)
            if not GATES[key].part
            else _window_rows(cells, key, margin, drawn)
        )
    ]
    names = dict.fromkeys([*cells, *asked])
    words = {v: [r["word"] for r in rows if r["version"] == v and v != REFERENCE] for v in names}
    first = next(iter([*cells.values(), *asked.values()]), records[0])
    return {
        "benchmark_name": "gates",
        **{key: first.get(key) for key in SHARED},
        "level": LEVEL,
        "margins": {key: margin for key, margin in margins.items() if margin is not None},
        "rows": rows,
        "versions": {version: overall(own) for version, own in words.items() if overall(own)},
    }


def _window_rows(cells: Mapping[str, Record], key: str, margin: float, drawn: bool) -> list[Row]:
    gate = GATES[key]
    reference = cells.get(REFERENCE)
    floor = (reference or {}).get("noise_floor")
    rows: list[Row] = []
    if floor and gate.part in floor:
        row = _row(key, REFERENCE, _interval(floor, gate), margin)
        rate = of_itself(floor, reference, gate.windows, margin) if drawn else None
        rows.append(row | {"false_failure": rate})
    for version, cell in cells.items():
        paired = cell.get("paired") or {}
        if version in (REFERENCE, "v0") or gate.part not in paired:
            continue
        row = _row(key, version, _interval(paired, gate), margin)
        row["floor"] = floor[gate.part][gate.value] if floor and gate.part in floor else None
        _check_sensitivity(row, cell.get("corrupted"), gate.part)
        row["false_failure"] = at_margin(cell, gate.windows, margin) if drawn else None
        rows.append(row)
    return rows


def _retrieval_rows(cells: Mapping[str, Record], key: str, margin: float) -> list[Row]:
    reference = cells.get(REFERENCE)
    if reference is None:
        return []
    rows: list[Row] = []
    for version, cell in cells.items():
        lost = retrieval.lost(cell, reference)
        if version in (REFERENCE, "v0") or lost is None:
            continue
        row = _row(key, version, (lost["value"], lost["low"], lost["high"]), margin)
        corrupted = retrieval.lost_when_corrupted(cell, reference)
        _check_sensitivity(row, None if corrupted is None else {"lost": corrupted}, "lost")
        rows.append(row)
    return rows


def _interval(found: Mapping[str, Any], gate: Gate) -> tuple[float, float | None, float | None]:
    part = found[gate.part]
    return part[gate.value], part.get("low"), part.get("high")


def _row(
    key: str, version: str, value: tuple[float, float | None, float | None], margin: float
) -> Row:
    at, low, high = value
    found = {"gate": key, "version": version, "value": at, "value_low": low, "value_high": high}
    return found | {"margin": margin, "word": word(low, high, margin)}


def _check_sensitivity(row: Row, corrupted: Mapping[str, Any] | None, key: str) -> None:
    """Put in what a corrupted cache scores, and what to say of a gate that it would pass.

    No number at all is beyond every margin. Without the control the word stands, and
    `corrupted_beyond` is None.
    """
    row["corrupted"] = corrupted[key] if corrupted else None
    row["corrupted_beyond"] = None
    if corrupted:
        row["corrupted_beyond"] = row["corrupted"] is None or row["corrupted"] > row["margin"]
        if row["word"] == PASS and not row["corrupted_beyond"]:
            row["word"] = NOT_SENSITIVE


def gates_of(records: Sequence[Record], preset: str) -> Record | None:
    """The record of a preset's gates among these."""
    own = (r for r in records if r.get("benchmark_name") == "gates" and not is_error(r))
    return next((record for record in own if record["pretrained"] == preset), None)
