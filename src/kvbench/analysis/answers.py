"""What a study found, in sentences: which version is faster, how much it keeps, what that costs.

One sentence a version, beside the numbers that it was written from, so that the terminal, the page
and the library say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kvbench.analysis.quality import MULTIPLIED
from kvbench.analysis.rounds import pairs
from kvbench.analysis.verdict_notes import at
from kvbench.analysis.verdicts import IMPLEMENTATIONS, judge
from kvbench.names import cache_names
from kvbench.records.read import each_cell
from kvbench.records.record import TIMED, Record, by, is_error, measured
from kvbench.records.store import RecordError, read_record
from kvbench.stats.decisions import EQUIVALENT, FASTER, SLOWER
from kvbench.stats.digits import short, size, spoken

SPEED, MEMORY, QUALITY = "speed", "memory", "quality"
SMALLER, LARGER, EQUAL = "smaller", "larger", "equal"
HIGHER, LOWER, UNCHANGED, NOT_SHOWN = "higher", "lower", "unchanged", "not shown"
CACHE = "cache_reserved_bytes"
MANY = 4  # other batches and lengths, from which they are not all named


@dataclass(frozen=True)
class Answer:
    """What is said of one version against its baseline.

    `value` is, by question, the speed-up (above 1 is faster), how many times smaller the cache is,
    or the ratio of perplexities (below 1 is better); `low` and `high` are its interval at `level`,
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


def of_study(folder: str | Path, since: float = 0.0) -> list[Section]:
    """The answers of a study that was run in `results/{study}`: from its verdicts and its cells.

    `since`: only those from files written at that time or later, in seconds of the epoch. Raises
    RecordError for a file that is not whole.
    """

    def written(where: str, *names: str) -> list[Path]:
        return [path for name in names for path in sorted(Path(folder, where).glob(name))]

    def new(paths: list[Path]) -> list[Path]:
        return [path for path in paths if path.stat().st_mtime >= since]

    verdicts = new(written("verdicts", "*.json"))
    read = new(written("cells", "vram_*.jsonl", "perplexity_*.jsonl"))
    read += written("cells", "latency_*.jsonl", "decode_*.jsonl") if verdicts else []
    records = [cell for _, cell in each_cell(map(str, read))]
    closed = not written("cells", "vram_*.jsonl")
    return sections([read_record(path) for path in verdicts], records, closed)


def ending(folder: str | Path, since: float = 0.0) -> str:
    """The last lines of a run: the answers that it made, and where everything lies."""
    try:
        found = of_study(folder, since)
    except RecordError as error:  # as after `snakemake --touch` on files that are none
        return f"no answers: {error}"
    places = [Path(folder, name) for name in ("report.html", "results.jsonl")]
    made = [path for path in places if path.is_file() and path.stat().st_mtime >= since]
    names = {"report.html": "page", "results.jsonl": "records"}
    lines = [f"{names[path.name]}: {path}" for path in made]
    if seconds := measured_s(folder, since):
        lines.insert(0, f"measuring: {seconds / 60:.1f} minutes of the run")
    return "\n".join([*([text(found)] if found else []), *lines])


def measured_s(folder: str | Path, since: float = 0.0) -> float:
    """Seconds for which cells were measured, past their warm-ups; of files as in `ending`."""
    paths = [p for p in sorted(Path(folder, "cells").glob("*.jsonl")) if p.stat().st_mtime >= since]
    cells = [cell for _, cell in each_cell(map(str, paths))]
    states = [p.get("machine_state") for cell in cells for p in cell.get("processes") or [cell]]
    return sum((state or {}).get("measured_s") or 0.0 for state in states)


def of_records(records: Iterable[Record], margin: float) -> list[Section]:
    """The answers of a file of records, whose verdicts are worked out from them."""
    cells = list(records)
    timed = [cell for cell in cells if cell["benchmark_name"] in TIMED]
    verdicts = [judge(here, margin) for here in by(timed, "pretrained").values()]
    return sections(verdicts, cells)


def sections(
    verdicts: Sequence[Record], cells: Sequence[Record], closed_form: bool = True
) -> list[Section]:
    """Each question that these records answer, speed first, one section a preset.

    `verdicts` are records of `kvbench.analysis.verdicts.judge`, `cells` all cells of the study:
    timed ones give names and noise, those of memory and perplexity their own sections. Speed is
    that of the largest batch and T, and of the largest batch and depth; memory likewise, which by
    default is the closed form of the timed cells where nothing was weighed.
    """
    found = [
        speed_section(record, of_preset(cells, record["pretrained"], *TIMED), axis)
        for record in verdicts
        for axis in ("T", "depth")
    ]
    kinds = by(cells, "benchmark_name")
    weighed = kinds.get("vram_vs_T", [])
    if not weighed and closed_form:
        timed = by([*kinds.get("decode", kinds.get("latency_vs_T", []))], "pretrained").values()
        found += map(stored_section, timed)
    for make, own in ((memory_section, weighed), (quality_section, kinds.get("perplexity", []))):
        found += [make(here) for here in by(own, "pretrained").values()]
    return [section for section in found if section is not None]


def of_preset(cells: Sequence[Record], preset: str, *benchmarks: str) -> list[Record]:
    """The cells of one preset and these benchmarks, by the names in their records."""
    return [
        cell
        for cell in cells
        if cell["pretrained"] == preset and cell["benchmark_name"] in benchmarks
    ]


def names_of(cells: Sequence[Record]) -> dict[str, str]:
    """What each version among the cells is called."""
    return cache_names({cell["version"]: cell for cell in cells})


def speed(record: Record, names: Mapping[str, str]) -> list[Answer]:
    """A sentence for every row of a record of verdicts."""
    return [_speed(row, record, names) for row in record["rows"]]


def speed_section(record: Record, cells: Sequence[Record], axis: str) -> Section | None:
    """The verdicts at the largest batch and length, of whole generations (axis T) or of steps.

    Each faster one says where else it is faster. None without any.
    """
    every = [row for row in record["rows"] if row.get(axis)]
    if not every:
        return None
    rows = [row for row in every if _place(row) == max(map(_place, every))]
    replicates = sorted({row["replicates"] for row in rows if row.get("replicates")})
    about = [at(rows[0]), record["dtype"]]
    if replicates:
        one = replicates == [1]
        about.append(f"{'-'.join(map(str, replicates))} process{'' if one else 'es'} each")
    disturbed = sum(cell.get("disturbed", 0) for cell in cells)
    if disturbed:
        of = sum(cell.get("replicates", 0) for cell in cells)
        about.append(f"other work on the machine disturbed {disturbed} of {of}")
    return Section(
        SPEED,
        record["pretrained"],
        ", ".join(about),
        [_with_others(answer, every) for answer in speed(record | {"rows": rows}, names_of(cells))],
    )


def _with_others(answer: Answer, rows: Sequence[Record]) -> Answer:
    """An answer that says where else the version is faster than its baseline, among `rows`."""
    others = [r for r in rows if r["version"] == answer.version and r is not answer.row]
    if answer.word != FASTER or not others:
        return answer
    also = [at(row) for row in others if row["verdict"] == FASTER]
    if not also:
        said = f"not shown at {'; '.join(map(at, others))}" if len(others) < MANY else "there alone"
    elif len(also) == len(others) >= MANY:
        said = f"faster at each of {len(others)} other batches and lengths"
    else:
        said = f"faster also at {'; '.join(also[:MANY])}" + ("; ..." if len(also) > MANY else "")
    return replace(answer, text=f"{answer.text}; {said}")


def memory_section(cells: Sequence[Record]) -> Section | None:
    """What the caches reserve at the largest batch and length, each against its baseline's."""
    place = max(map(_place, cells))
    here = {cell["version"]: cell for cell in cells if _place(cell) == place}
    names = names_of(cells)
    answers = [_memory(here[a], here[b], names) for a, b in pairs(list(here))]
    if not answers:
        return None
    first = next(iter(here.values()))
    about = f"{at(first)} after a prompt of {first['prompt_length']}, {first['dtype']}"
    return Section(MEMORY, first["pretrained"], about, answers)


def stored_section(cells: Sequence[Record]) -> Section | None:
    """What the caches of timed cells store, by the closed form, at the largest batch and length."""
    place = max(map(_place, cells))
    here = {cell["version"]: cell for cell in measured(cells) if _place(cell) == place}
    names = names_of(cells)
    answers = [_stored(here[a], here[b], names) for a, b in pairs(list(here))]
    if not answers:
        return None
    first = next(iter(here.values()))
    about = f"{at(first)}, {first['dtype']}, by the closed form (benchmark vram weighs)"
    return Section(MEMORY, first["pretrained"], about, answers)


def _stored(cell: Record, against: Record, names: Mapping[str, str]) -> Answer:
    tokens = cell.get("depth") or cell["prompt_length"] + cell["T"] - 1
    kept = [
        cell["batch_size"] * tokens * record["cache_bytes_per_token"] for record in (cell, against)
    ]
    mine, other = ({**r, CACHE: n} for r, n in zip((cell, against), kept, strict=True))
    return _memory(mine, other, names)


def quality_section(cells: Sequence[Record]) -> Section | None:
    """What reading K and V through each cache does to perplexity, against v1."""
    names = names_of(cells)
    kept = [c for c in cells if is_error(c) or c["version"] not in (c["against"], "v0")]
    answers = [_quality(cell, names) for cell in kept]
    scored = measured(cells)
    if not answers or not scored:
        return None
    first = scored[0]
    plain = first["modes"]["teacher_forced"]["perplexity"]
    about = (
        f"perplexity {short(plain)} on {first['n_windows']} windows of {first['context']} tokens "
        f"of {first['text']}"
    )
    return Section(QUALITY, first["pretrained"], about, answers)


def _place(row: Record) -> tuple[int, int]:
    return row["batch_size"], row.get("T") or row.get("depth") or 0


def _speed(row: Record, record: Record, names: Mapping[str, str]) -> Answer:
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


def _memory(cell: Record, against: Record, names: Mapping[str, str]) -> Answer:
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


def _quality(cell: Record, names: Mapping[str, str]) -> Answer:
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


def text(found: Sequence[Section]) -> str:
    """All answers as lines: a title a section, and its sentences indented."""
    return "\n".join(
        line for section in found for line in (section.title, *(f"  {a}" for a in section.answers))
    )
