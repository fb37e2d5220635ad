"""What a figure shows, in one sentence with its numbers: beside the answers, of all that is drawn.

Speed, memory and quality are said by `kvbench.analysis.answers`, from which `paragraph` takes those
that have room; the other sentences are here. Times in ms, shares in per cent, intervals of 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from kvbench.analysis import roofline
from kvbench.analysis.answers import Section
from kvbench.analysis.drift import compare_cells
from kvbench.analysis.rounds import UnpairedError
from kvbench.analysis.sentences import NOT_SHOWN
from kvbench.analysis.verdict_notes import at
from kvbench.analysis.verdicts import IMPLEMENTATIONS
from kvbench.records.record import Record, by, measured
from kvbench.stats.decisions import FASTER, INCONCLUSIVE, SLOWER
from kvbench.stats.digits import short, spoken
from kvbench.stats.paired import Interval, interval

FEW = 4  # sentences that a reader takes in at once
OPEN = (INCONCLUSIVE, NOT_SHOWN, IMPLEMENTATIONS)  # words that tell no two caches apart
Names = Mapping[str, str]


def paragraph(section: Section | None) -> str:
    """The answers of a section in one paragraph: of many, those furthest from no difference."""
    if section is None:
        return "no pair of caches to compare"
    place = section.about.split(", ")[:2]
    ranked = sorted(
        section.answers,
        key=lambda a: (a.word is None, a.word in OPEN, -abs(math.log(a.value or 1))),
    )[:FEW]
    where = ", ".join(place) if place[0].startswith("batch") else section.about
    where = where[:1].upper() + where[1:]
    return f"{where}: " + joined(
        (str(a) for a in section.answers if a in ranked), len(section.answers)
    )


def joined(sentences: Iterable[str], of: int | None = None, most: int = FEW) -> str:
    """Sentences in a row; of many the first, and how many are not said."""
    every = list(sentences)
    left = (of or len(every)) - min(len(every), most)
    return "; ".join(every[:most] + ([f"{left} more in the table"] if left else []))


def times(cells: Sequence[Record], names: Names) -> str:
    """How long generations of the largest batch and length take with each cache."""
    whole = measured(cells)
    place = max((cell["batch_size"], cell["T"]) for cell in whole)
    said = []
    for cell in whole:
        if (cell["batch_size"], cell["T"]) == place:
            ends = (cell["time_total_ms_interval"][end] for end in ("low", "high"))
            ms = spoken(cell["time_total_ms_median"], *ends)
            said.append(f"{ms} ms with {names[cell['version']]}")
    return f"Batch {place[0]}, T {place[1]}: {joined(said, most=FEW + 1)}"


def places(rows: Sequence[Record], names: Names) -> str:
    """From which batch and depth on each version is faster than its baseline, by the verdicts."""
    return joined(
        _where_faster(own, names[version], names[baseline])
        for (version, baseline), own in by(rows, "version", "baseline").items()
    )


def _where_faster(rows: Sequence[Record], name: str, baseline: str) -> str:
    compared = [row for row in rows if "speedup" in row]
    if not compared:
        return f"{name} against {baseline}: {rows[0]['verdict']}"
    faster = [row for row in compared if row["verdict"] == FASTER and not row.get("flag")]
    slower = [row for row in compared if row["verdict"] == SLOWER]
    if faster:
        most = max(faster, key=lambda row: row["speedup"])
        text = (
            f"{name} is faster than {baseline} {_at(faster, rows)}, most at {at(most)}: "
            f"{_times(most)} times"
        )
        text += f"; slower {_at(slower, rows)}" if slower else ""
    else:
        deepest = max(compared, key=lambda row: (row["batch_size"], row["depth"]))
        kind = "slower" if len(slower) == len(rows) else "nowhere shown faster"
        text = f"{name} is {kind} than {baseline}: {_times(deepest)} times at {at(deepest)}"
    if beyond := sum(bool(row.get("flag")) for row in compared):
        text += f"; {beyond} of {len(rows)} above their ceiling, not to be believed"
    return text


def _at(some: Sequence[Record], of: Sequence[Record]) -> str:
    """The places of some rows among all: `at batch 8 from depth 96 on`."""
    if len(some) == len(of):
        return "everywhere"
    batches: dict[str, list[str]] = {}
    for batch, here in by(of, "batch_size").items():
        if own := sorted(row["depth"] for row in some if row["batch_size"] == batch):
            depths = sorted(row["depth"] for row in here)
            where = f" at {len(own)} of {len(depths)} depths"
            if own == depths:
                where = ""
            elif own == depths[-len(own) :]:
                where = f" from depth {own[0]} on"
            elif len(own) == 1:
                where = f" at depth {own[0]}"
            batches.setdefault(where, []).append(str(batch))
    return " and ".join(f"at batch {', '.join(own)}{where}" for where, own in batches.items())


def _times(row: Record) -> str:
    return spoken(row["speedup"], row["speedup_low"], row["speedup_high"], apart_from=1)


def parts(cells: Sequence[Record], names: Names) -> str:
    """Which part of a generation takes the most time, and its share with each cache."""
    most: dict[str, list[str]] = {}
    for cell in cells:
        spent = {k: ms for k, ms in cell["time_phase_ms"].items() if k != "total"}
        largest = max(spent, key=lambda part: spent[part])
        share = spent[largest] / sum(spent.values())
        most.setdefault(largest, []).append(f"{100 * share:.0f} % with {names[cell['version']]}")
    said = []
    for part, shares in most.items():
        more = f" and {len(shares) - FEW} more" if len(shares) > FEW else ""
        said.append(f"{part} takes the most: {', '.join(shares[:FEW])}{more}")
    return f"Batch {cells[0]['batch_size']}: {joined(said)}"


def over_runs(times_ms: Sequence[float]) -> Interval:
    """The median over the runs of one process, with its interval; it holds no other process."""
    return interval([[ms] for ms in times_ms])


def kernel_times(cell: Record) -> Interval:
    """The kernel time of a roofline cell over its processes; one sample where a profiler gave it.

    An older record holds the runs of one process: theirs.
    """
    if "time_ms_interval" in cell:
        return Interval(**cell["time_ms_interval"])
    at = roofline.point(cell, {"gemm_gflop_s": 1.0, "read_gb_s": 1.0})
    runs = [run["device_ms"] for run in cell.get("runs", [])]
    if len(runs) < 2 or roofline.COUNTED in (at.flop_is, at.bytes_is):
        return interval([[at.time_ms]])
    return over_runs(runs)


def time_change(before: Record, after: Record) -> float | None:
    """The second cell's kernel time over the first's; None where nothing tells them apart.

    Of processes it is over the rounds that both ran in, by the clock; in older records intervals
    that overlap do not tell. One sample of each is their ratio.
    """
    if "processes" in before and "processes" in after:
        try:
            found = compare_cells(after, before, {})
        except UnpairedError:
            return None
        apart = found.low is None or found.high is None or not found.low <= 1 <= found.high
        return found.ratio if apart else None
    a, b = map(kernel_times, (before, after))
    (low, high), (new_low, new_high) = (
        (one.low or one.point, one.high or one.point) for one in (a, b)
    )
    overlap = low < high and new_low < new_high and new_low <= high and low <= new_high
    return None if overlap else b.point / a.point


def roof_share(cell: Record, roofs: Record) -> str:
    """The share of its roof with the interval of its time, in per cent: `83 [81, 86] %`."""
    here, found = roofline.point(cell, roofs), kernel_times(cell)
    whole = 100 * here.share * here.time_ms
    low, high = (None if ms is None else whole / ms for ms in (found.high, found.low))
    return f"{spoken(100 * here.share, low, high)} %"


def roof_shares(cells: Sequence[Record], roofs: Record, names: Names) -> str:
    """Which share of its roof a step with each cache reaches; of the prefill without a decode."""
    cached = [c for c in cells if c["phase"] == "decode" and c["use_cache"]]
    shown = cached or [c for c in cells if c["phase"] == "decode"] or list(cells)
    said = [f"{roof_share(cell, roofs)} with {names[cell['version']]}" for cell in shown]
    kind = "a decode step" if shown[0]["phase"] == "decode" else "a prefill"
    bounds = sorted({roofline.point(cell, roofs).bound for cell in shown})
    where = f"Batch {shown[0]['batch_size']}, {' or '.join(bounds)} bound"
    return f"{where}: of its roof {kind} reaches {joined(said)}"


def largest_parts(rows: Sequence[Record], words: Names, names: Names) -> str:
    """Which part of the longest step of the largest batch takes the most, with each cache."""
    place = max((row["batch_size"], row["depth"]) for row in rows)
    here = [row for row in rows if (row["batch_size"], row["depth"]) == place]
    said = []
    for row in here:
        largest = max(words, key=lambda part: row[part] or 0.0)
        whole = spoken(row["tpot_ms"], row["tpot_ms_low"], row["tpot_ms_high"])
        share = f"{100 * (row[largest] or 0.0) / row['tpot_ms']:.0f} % of {whole} ms"
        said.append(f"{words[largest]} {share} with {names[row['version']]}")
    return f"Largest part at {at(here[0])}: {joined(said)}"


def fastest_ways(rows: Sequence[Record], names: Names) -> str:
    """The fastest way to run a step with each cache, and its gain over eager torch."""
    said = []
    whole = [row for row in rows if "step_ms" in row]
    batch = max((row["batch_size"] for row in whole), default=0)
    for version, own in by([r for r in whole if r["batch_size"] == batch], "version").items():
        best = min(own, key=lambda row: row["step_ms"])
        ms = spoken(best["step_ms"], best["step_ms_low"], best["step_ms_high"])
        said.append(f"{names[version]} by {best['ran']}, {ms} ms a step{_gain(best)}")
    return f"Batch {batch}, fastest: {joined(said)}"


def runners(rows: Sequence[Record], names: Names) -> str:
    """How much faster or slower than v1 each other runner is."""
    whole = [row for row in rows if "speedup" in row and row["library"] != "kvbench"]
    place = max(((row["batch_size"], row["T"]) for row in whole), default=None)
    if place is None:
        return "no other runner was measured beside v1"
    said = [
        f"{names[row['runner']]} is {_times(row)} times as fast as {names['v1']}"
        for row in whole
        if (row["batch_size"], row["T"]) == place
    ]
    return f"Batch {place[0]}, T {place[1]}: {joined(said)}"


def _gain(row: Record) -> str:
    if row.get("speedup") is None or row.get("ran") == "eager, torch":
        return ""
    return f", {_times(row)} times as fast as eager torch"


def damage(cells: Sequence[Record], names: Names) -> str:
    """How far each cache's outputs are from v1's, and in which layer its attention errs most."""
    said = []
    for cell in cells:
        kl, error = cell["paired"]["kl"], cell["by_layer"]["attention_error"]
        if kl["mean"] > 0:
            layer = max(range(len(error)), key=lambda i: error[i])
            nats = spoken(kl["mean"], kl["low"], kl["high"])
            said.append(
                f"{names[cell['version']]} diverges by {nats} nats a token, its attention errs "
                f"most in layer {layer}, by {short(100 * error[layer], 2)} %"
            )
    return joined(said) if said else "no cache differs from v1"
