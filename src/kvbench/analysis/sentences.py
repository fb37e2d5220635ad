"""One sentence a version on speed, memory or quality, beside the numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kvbench.analysis import retrieval
from kvbench.analysis.gate_table import said, said_of
from kvbench.analysis.gates import LEVEL
from kvbench.analysis.quality import MULTIPLIED
from kvbench.analysis.verdicts import IMPLEMENTATIONS
from kvbench.records.record import Record, is_error
from kvbench.stats.decisions import EQUIVALENT, FASTER, SLOWER
from kvbench.stats.digits import short, size, spoken

SPEED, MEMORY, QUALITY, CHOICE = "speed", "memory", "quality", "choice"
SMALLER, LARGER, EQUAL = "smaller", "larger", "equal"
HIGHER, LOWER, UNCHANGED, NOT_SHOWN = "higher", "lower", "unchanged", "not shown"
LOSES = "loses"
CACHE = "cache_reserved_bytes"


@dataclass(frozen=True)
class Answer:
    """What is said of one version against its baseline.

    `value` is, by question, the speed-up (above 1 is faster), how many times smaller the cache is,
    the ratio of perplexities (below 1 is better) or the share of items lost, and None of the
    choice; `low` and `high` are its interval at `level`,
    None where there is none. `word` is the verdict's, or one of this module; None where nothing was
    measured. `row` is what the sentence was written from: a row of verdicts, or a cell.
    """

    question: str
    version: str
    name: str
    baseline: str
    baseline_name: str
    word: str | None
    value: float | None
    low: float | None
    high: float | None
    level: float | None
    text: str
    row: Record = field(repr=False, compare=False)
    gate: str = ""  # of quality: PASS, FAIL, INCONCLUSIVE or not sensitive, and by which gates

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Section:
    """The answers to one question on one preset; `about` says where and how they were measured."""

    question: str
    preset: str
    about: str
    answers: list[Answer]

    @property
    def title(self) -> str:
        """What the answers are of, in one line."""
        return f"{self.question} of {self.preset}: {self.about}"


def stored_sentence(cell: Record, against: Record, names: Mapping[str, str]) -> Answer:
    tokens = cell.get("depth") or cell["prompt_length"] + cell["T"] - 1
    kept = [
        cell["batch_size"] * tokens * record["cache_bytes_per_token"] for record in (cell, against)
    ]
    mine, other = ({**r, CACHE: n} for r, n in zip((cell, against), kept, strict=True))
    return memory_sentence(mine, other, names)


def speed_sentence(row: Record, record: Record, names: Mapping[str, str]) -> Answer:
    a, b = (names.get(row[key], row[key]) for key in ("version", "baseline"))
    word, value = row["verdict"], row.get("speedup")
    low, high = row.get("speedup_low"), row.get("speedup_high")
    times = None if value is None else spoken(value, low, high, apart_from=1)
    if value is None:
        text, word = f"{a} against {b}: {word}", None
    elif word == IMPLEMENTATIONS:
        text = (
            f"{a} and {b} ran on other implementations, so that {times} times as fast is not of "
            f"the caches: {row['remark']}"
        )
    elif row["replicates"] == 1:
        text = f"one process cannot show a difference between {a} and {b}: {short(value)} as fast"
    elif word == FASTER:
        text = f"{a} is {times} times as fast as {b}"
    elif word == SLOWER:
        text = f"{a} is slower than {b}: {times} times as fast"
    elif word == EQUIVALENT:
        text = f"{a} is as fast as {b} within {100 * record['margin']:.3g} %: {times} times"
    else:
        text = f"no difference in speed shown between {a} and {b}: {times} times as fast"
    if row.get("flag"):
        text += f"; {row['flag']}, {row['ceiling']:.3g}: not to be believed"
    return Answer(
        SPEED, row["version"], a, row["baseline"], b, word, value, low, high, record["level"],
        text, row,
    )  # fmt: skip


def memory_sentence(cell: Record, against: Record, names: Mapping[str, str]) -> Answer:
    a, b = names[cell["version"]], names[against["version"]]
    times, word = None, None
    lost = [name for name, c in ((a, cell), (b, against)) if is_error(c)]
    if lost:
        text = f"{a} against {b}: {lost[0]} {(cell if lost[0] == a else against)['error']}"
    elif not cell[CACHE] or not against[CACHE]:
        word = (LARGER if cell[CACHE] else SMALLER) if cell[CACHE] != against[CACHE] else EQUAL
        text = f"{a} keeps {_kept(cell)}, {b} {_kept(against)}"
    else:
        times = against[CACHE] / cell[CACHE]
        word = EQUAL if times == 1 else SMALLER if times > 1 else LARGER
        by = "the same" if times == 1 else f"{short(max(times, 1 / times))} times {word}"
        text = f"{a} keeps {_kept(cell)}, {b} {size(against[CACHE])}: {by}"
    if not lost and "peak_memory_bytes" in cell:
        peaks = (size(c["peak_memory_bytes"]) for c in (cell, against))
        text += "; peak {} against {}".format(*peaks)
    return Answer(
        MEMORY, cell["version"], a, against["version"], b, word, times, None, None, None, text, cell
    )


def _kept(cell: Record) -> str:
    return f"{size(cell[CACHE])} of cache" if cell[CACHE] else "nothing"


def quality_sentence(cell: Record, names: Mapping[str, str]) -> Answer:
    a = names[cell["version"]]
    if is_error(cell):
        return Answer(
            QUALITY, cell["version"], a, "v1", names.get("v1", "v1"), None, None, None, None, None,
            f"{a}: {cell['error']}", cell,
        )  # fmt: skip
    b = names.get(cell["against"], cell["against"])
    found = cell["paired"]["perplexity_ratio"]
    ratio, low, high = found["ratio"], found["low"], found["high"]
    if low is None or high is None:
        word = None
    elif ratio == low == high == 1:
        word = UNCHANGED
    else:
        word = HIGHER if low > 1 else LOWER if high < 1 else NOT_SHOWN
    if word == UNCHANGED:
        text = f"{a} leaves perplexity as {b} has it, to the last bit"
    elif ratio >= MULTIPLIED:
        text = f"{a} multiplies the perplexity of {b} by {spoken(ratio, low, high, apart_from=1)}"
    else:
        low_percent, high_percent = (
            None if end is None else 100 * (end - 1) for end in (low, high)
        )
        change = spoken(100 * (ratio - 1), low_percent, high_percent, sign=True, apart_from=0)
        if word == NOT_SHOWN:
            text = f"no change of perplexity shown between {a} and {b}: {change} %"
        elif word is None:
            text = f"{a} changes the perplexity of {b} by {change} %, too little text to say more"
        else:
            text = f"{a} changes the perplexity of {b} by {change} %"
    return Answer(
        QUALITY, cell["version"], a, cell["against"], b, word, ratio, low, high,
        cell["paired"]["delta_nll"]["level"], text, cell,
    )  # fmt: skip


def retrieval_sentence(cell: Record, reference: Record, names: Mapping[str, str]) -> Answer:
    a, b = (names.get(one["version"], one["version"]) for one in (cell, reference))
    lost = retrieval.lost(cell, reference) or {"value": None, "low": None, "high": None}
    found = retrieval.pooled(cell, reference, retrieval.judged(reference))
    word = None
    if lost["value"] is not None:
        word = LOSES if found["lost"] > found["gained"] and found["p"] < 1 - LEVEL else NOT_SHOWN
    return Answer(
        QUALITY, cell["version"], a, reference["version"], b, word, lost["value"], lost["low"],
        lost["high"], LEVEL, retrieval.sentence(cell, reference, a, b), cell,
    )  # fmt: skip


def with_gate(answer: Answer, gates: Record | None, key: str = "") -> Answer:
    """An answer on quality that also says the word of all gates, or of the one of a `key`."""
    gate = said_of(gates, answer.version, key) if key else said(gates, answer.version)
    return replace(answer, gate=gate, text=f"{answer.text}; {gate}") if gate else answer
