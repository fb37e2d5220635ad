"""Retrieval by length: each version against v1, item by item.

Where v1 itself answers less than half of a task's items, nobody can be caught at losing them: that
task and length is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kvbench.analysis.table import Table
from kvbench.records.names import names_of
from kvbench.records.record import Record, Row, is_error, measured
from kvbench.stats.digits import short, spoken
from kvbench.stats.flips import mcnemar, share_interval
from kvbench.stats.windows import block_bootstrap_mean

HALF = 0.5  # of its items that v1 answers, from which a task is judged
REFERENCE, ALL = "v1", "all judged"
NOT_JUDGED = "not judged"

Place = tuple[str, int]  # task and length


def table(records: Sequence[Record]) -> Table:
    """Retrieval of every version: a row for each task and length, and one for all of a length."""
    found = rows(records)
    title = f"Retrieval of {records[0]['pretrained']}"
    return Table(title, found, notes(records), records, shown=_shown(found))


def rows(records: Sequence[Record]) -> list[Row]:
    """Each version's row for every task and length, and for all judged tasks of each length."""
    reference = reference_of(records)
    return [row for cell in records for row in rows_of(cell, reference)]


def reference_of(records: Sequence[Record]) -> Record | None:
    """v1's cell among these; None where it was not measured."""
    return next((cell for cell in measured(records) if cell["version"] == REFERENCE), None)


def rows_of(cell: Record, reference: Record | None) -> list[Row]:
    """The rows of one cell; of one that was not measured, why."""
    row = {"version": cell["version"]}
    if is_error(cell):
        return [row | {"error": cell["error"]}]
    found = [row | pooled(cell, reference, [place]) for place in scores(cell)]
    return found + [row | pooled(cell, reference, judged(reference, n)) for n in cell["lengths"]]


def scores(cell: Record, key: str = "scores") -> dict[Place, Record]:
    """A cell's items by task and length: all, `noise_floor` or `corrupted`."""
    return {(one["task"], one["length"]): one for one in cell.get(key) or []}


def judged(reference: Record | None, length: int | None = None) -> list[Place]:
    """The tasks and lengths at which v1 answers half of the items or more."""
    if reference is None:
        return []
    return [
        place
        for place, one in scores(reference).items()
        if length in (None, place[1]) and one["rank"].count(1) >= HALF * len(one["rank"])
    ]


def pooled(cell: Record, reference: Record | None, places: Sequence[Place]) -> Row:
    """The items of these places together, paired with v1's.

    right: items whose answer is the likeliest, with an exact interval of its share. lost, gained:
    items that v1 alone, or the version alone, answers; p of McNemar's exact test. margin_change:
    what the answer's margin over its distractors is more than v1's, nats, with a bootstrap
    interval over items.
    """
    own = scores(cell)
    task = places[0][0] if len(places) == 1 else ALL
    row: Row = {"task": task, "length": places[0][1] if places else None}
    if not places:
        return row | {"judged": False}
    ranks = [rank for place in places for rank in own[place]["rank"]]
    right = [rank == 1 for rank in ranks]
    low, high = share_interval(sum(right), len(right))
    row |= {"judged": all(place in judged(reference) for place in places), "items": len(right)}
    row |= {"right": sum(right), "share": sum(right) / len(right)}
    row |= {"share_low": low, "share_high": high}
    if reference is None:
        return row
    whole = scores(reference)
    right_v1 = [rank == 1 for place in places for rank in whole[place]["rank"]]
    lost = sum(a and not b for a, b in zip(right_v1, right, strict=True))
    gained = sum(b and not a for a, b in zip(right_v1, right, strict=True))
    margins = [
        pair for p in places for pair in zip(whole[p]["margin"], own[p]["margin"], strict=True)
    ]
    change = [b - a for a, b in margins if a is not None and b is not None]
    row |= {"right_v1": sum(right_v1), "lost": lost, "gained": gained, "p": mcnemar(lost, gained)}
    mean = block_bootstrap_mean(change, 1, seed=cell["seed"]) if change else None
    ends = (mean.mean, mean.low, mean.high) if mean else (None, None, None)
    keys = ("margin_change", "margin_change_low", "margin_change_high")
    return row | dict(zip(keys, ends, strict=True))


def lost(cell: Record, reference: Record) -> Record | None:
    """The share of the judged items right with v1 that the version loses, with its interval.

    None where nothing is judged. Of Clopper and Pearson, so that none lost is not none to lose.
    """
    places = judged(reference)
    found = pooled(cell, reference, places)
    if not places or not found["right_v1"]:
        return None
    low, high = share_interval(found["lost"], found["right_v1"])
    value = found["lost"] / found["right_v1"]
    return {"value": value, "low": low, "high": high, "of": found["right_v1"]}


def lost_when_corrupted(cell: Record, reference: Record) -> float | None:
    """The share of judged items right with v1 that are lost once the cache is corrupted."""
    again, whole = scores(cell, "corrupted"), scores(reference)
    wrong = [
        rank != 1
        for place in judged(reference)
        if place in again
        for item, rank in zip(again[place]["item"], again[place]["rank"], strict=True)
        if whole[place]["rank"][item] == 1
    ]
    return sum(wrong) / len(wrong) if wrong else None


def floor(reference: Record) -> tuple[int, int, float] | None:
    """Items of v1 that were read twice, how many flip, and the largest change of a margin."""
    again, whole = scores(reference, "noise_floor"), scores(reference)
    pairs = [
        (whole[place]["rank"][item], rank, whole[place]["margin"][item], margin)
        for place, one in again.items()
        for item, rank, margin in zip(one["item"], one["rank"], one["margin"], strict=True)
        if margin is not None and whole[place]["margin"][item] is not None
    ]
    if not pairs:
        return None
    flips = sum((a == 1) != (b == 1) for a, b, _, _ in pairs)
    return len(pairs), flips, max(abs(m - n) for _, _, m, n in pairs)


def sentence(cell: Record, reference: Record, name: str, baseline: str) -> str:
    """What a version loses at the longest judged length, in one line."""
    lengths = sorted({length for _, length in judged(reference)})
    if not lengths:
        return f"{name} is not judged: {baseline} answers less than half of every task"
    at = pooled(cell, reference, judged(reference, lengths[-1]))
    return (
        f"{name} answers {at['right']} of {at['items']} items of {lengths[-1]} tokens, {baseline} "
        f"{at['right_v1']}: {at['lost']} lost, {at['gained']} gained (p {short(at['p'], 2)}), "
        f"margins {_change(at)} nats"
    )


def notes(records: Sequence[Record]) -> list[str]:
    """What a reader must know beside the shares."""
    cells = measured(records)
    if not cells:
        return []
    first, names = cells[0], names_of(cells)
    said = [
        f"{first['items']} items of each task and length, the same for every version; right: the "
        f"answer is likelier than each of {first['candidates'] - 1} distractors. Where v1 answers "
        "less than half, a task is not judged. right: of all judged tasks. flips: items that v1 "
        "alone (-) or the version alone (+) answers, and p of McNemar's exact test. margin: change "
        "against v1, by item, of the answer's log-probability less that of the likeliest "
        "distractor, nats."
    ]
    reference = reference_of(cells)
    if reference is None:
        return [*said, "No v1: nothing is paired or judged; add it to the key `versions`."]
    if found := floor(reference):
        said.append(
            f"Noise floor, v1 through two exact paths: {found[1]} of {found[0]} items flip, no "
            f"margin moves by more than {short(found[2], 2)} nats."
        )
    control = [(cell, lost_when_corrupted(cell, reference)) for cell in cells]
    shares = [f"{names[c['version']]} {100 * x:.0f} %" for c, x in control if x is not None]
    if shares:
        said.append(f"Control, judged items lost once the cache is corrupted: {', '.join(shares)}.")
    return said


def _shown(found: Sequence[Row]) -> list[Row]:
    """A row for each version and length, its tasks side by side."""
    shown: list[Row] = []
    for row in found:
        if "error" in row:
            shown.append({"version": row["version"], "right, %": row["error"]})
        elif row["task"] == ALL:
            shown.append(_whole(row, found))
    return shown


def _whole(row: Row, found: Sequence[Row]) -> Row:
    own = [r for r in found if r["version"] == row["version"] and r.get("length") == row["length"]]
    said: Record = {"version": row["version"], "length": row["length"]}
    for one in own:
        if one["task"] != ALL:
            share = f"{one['right']}/{one['items']}"
            said[one["task"]] = share if one["judged"] else NOT_JUDGED
    return said | _paired_words(row)


def _paired_words(row: Mapping[str, Any]) -> Row:
    if not row["judged"]:
        return {"right, %": NOT_JUDGED}
    share = spoken(*(100 * row[key] for key in ("share", "share_low", "share_high")))
    return {
        "right, %": share,
        "flips": f"-{row['lost']} +{row['gained']}",
        "margin": _change(row),
        "p": short(row["p"], 1),
    }


def _change(row: Mapping[str, Any]) -> str:
    """The change of margins with its interval; `no number` where no item has one."""
    if row["margin_change"] is None:
        return "of no number"
    return spoken(
        row["margin_change"], row["margin_change_low"], row["margin_change_high"], True, 0.0
    )
