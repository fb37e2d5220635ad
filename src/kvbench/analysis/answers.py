"""What a study found, in sentences: which version is faster, how much it keeps, what that costs.

One sentence a version, beside the numbers that it was written from, so that the terminal, the page
and the library say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kvbench.analysis import tradeoff
from kvbench.analysis.gates import DEFAULTS, SCORED, gates_of
from kvbench.analysis.gates import judge as judge_quality
from kvbench.analysis.quality_answers import choice_section, quality_section, retrieval_section
from kvbench.analysis.rounds import pairs
from kvbench.analysis.sentences import (
    MEMORY,
    SPEED,
    Answer,
    Section,
    memory_sentence,
    speed_sentence,
    stored_sentence,
)
from kvbench.analysis.verdict_notes import at
from kvbench.analysis.verdicts import judge
from kvbench.records.names import names_of
from kvbench.records.read import each_cell
from kvbench.records.record import TIMED, Record, by, measured
from kvbench.records.store import RecordError, read_record
from kvbench.stats.decisions import FASTER

MANY = 4  # other batches and lengths, from which they are not all named


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
    gates, joined = (
        [read_record(path) for path in written(kind, "*.json")] for kind in ("gates", "tradeoff")
    )
    read += written("cells", "latency_*.jsonl", "decode_*.jsonl") if verdicts else []
    records = [cell for _, cell in each_cell(map(str, read))]
    closed = not written("cells", "vram_*.jsonl")
    return sections([read_record(path) for path in verdicts], records, closed, gates, joined)


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
    scored = [cell for cell in cells if cell["benchmark_name"] in SCORED]
    kept = [
        judge_quality(here, DEFAULTS, drawn=False) for here in by(scored, "pretrained").values()
    ]
    both = [
        tradeoff.judge([*here, *(record for record in kept if record["pretrained"] == preset)])
        for preset, here in by(cells, "pretrained").items()
        if {"perplexity"} < {cell["benchmark_name"] for cell in here} & {"perplexity", *TIMED}
    ]
    return sections(verdicts, cells, gates=kept, joined=both)


def sections(
    verdicts: Sequence[Record],
    cells: Sequence[Record],
    closed_form: bool = True,
    gates: Sequence[Record] = (),
    joined: Sequence[Record] = (),
) -> list[Section]:
    """Each question that these records answer, the choice first, one section a preset.

    `verdicts` are records of `kvbench.analysis.verdicts.judge`, `gates` of that of
    `kvbench.analysis.gates`, `joined` of that of `kvbench.analysis.tradeoff`, `cells` all cells of
    the study:
    timed ones give names and noise, those of memory and perplexity their own sections. Speed is
    that of the largest batch and T, and of the largest batch and depth; memory likewise, which by
    default is the closed form of the timed cells where nothing was weighed.
    """
    found = [choice_section(record) for record in joined]
    found += [
        speed_section(record, of_preset(cells, record["pretrained"], *TIMED), axis)
        for record in verdicts
        for axis in ("T", "depth")
    ]
    kinds = by(cells, "benchmark_name")
    weighed = kinds.get("vram_vs_T", [])
    if not weighed and closed_form:
        timed = by([*kinds.get("decode", kinds.get("latency_vs_T", []))], "pretrained").values()
        found += map(stored_section, timed)
    found += [memory_section(here) for here in by(weighed, "pretrained").values()]
    found += [
        quality_section(here, gates_of(gates, preset))
        for preset, here in by(kinds.get("perplexity", []), "pretrained").items()
    ]
    found += [
        retrieval_section(here, gates_of(gates, preset))
        for preset, here in by(kinds.get("retrieval", []), "pretrained").items()
    ]
    return [section for section in found if section is not None]


def of_preset(cells: Sequence[Record], preset: str, *benchmarks: str) -> list[Record]:
    """The cells of one preset and these benchmarks, by the names in their records."""
    return [
        cell
        for cell in cells
        if cell["pretrained"] == preset and cell["benchmark_name"] in benchmarks
    ]


def speed(record: Record, names: Mapping[str, str]) -> list[Answer]:
    """A sentence for every row of a record of verdicts."""
    return [speed_sentence(row, record, names) for row in record["rows"]]


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
    return _memory(cells, memory_sentence, "{} after a prompt of {prompt_length}, {dtype}")


def stored_section(cells: Sequence[Record]) -> Section | None:
    """What the caches of timed cells store, by the closed form, at the largest batch and length."""
    about = "{}, {dtype}, by the closed form (benchmark vram weighs)"
    return _memory(measured(cells), stored_sentence, about)


def _memory(
    cells: Sequence[Record],
    sentence: Callable[[Record, Record, Mapping[str, str]], Answer],
    about: str,
) -> Section | None:
    """A sentence for each version and its baseline at the largest batch and length of `cells`."""
    place = max(map(_place, cells), default=None)
    here = {cell["version"]: cell for cell in cells if _place(cell) == place}
    names = names_of(cells)
    answers = [sentence(here[a], here[b], names) for a, b in pairs(list(here))]
    if not answers:
        return None
    first = next(iter(here.values()))
    return Section(MEMORY, first["pretrained"], about.format(at(first), **first), answers)


def _place(row: Record) -> tuple[int, int]:
    return row["batch_size"], row.get("T") or row.get("depth") or 0


def text(found: Sequence[Section]) -> str:
    """All answers as lines: a title a section, and its sentences indented."""
    return "\n".join(
        line for section in found for line in (section.title, *(f"  {a}" for a in section.answers))
    )
