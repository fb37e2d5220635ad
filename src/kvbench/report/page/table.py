"""The page's one table: a row a cache at each place, and what explains it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kvbench.analysis.gate_table import said
from kvbench.analysis.gates import gates_of
from kvbench.analysis.quality import TOO_WEAK, change_words
from kvbench.records.record import TIMED, Record, Row, is_error
from kvbench.report.page.study import (
    Place,
    Study,
    milliseconds,
    number,
    place_of,
    place_of_row,
    ran,
)
from kvbench.stats.digits import short, size, spoken

HEADERS = (
    "Cache",
    "Speed-up",
    "ms per token",
    "Cache per token",
    "Perplexity",
    "Verdict",
    "Remarks",
)
MISSING = "–"


@dataclass(frozen=True)
class Field:
    """One field: what it shows, a smaller second line, and the number that it is sorted by."""

    text: str
    below: str = ""
    sort: float | str | None = None


@dataclass(frozen=True)
class Line:
    """One row of the table: its fields under `HEADERS`, and what explains it, by name."""

    place: str
    version: str
    word: str
    fields: list[Field]
    details: list[tuple[str, str]]
    link: str


def lines(study: Study) -> list[Line]:
    """The rows of every place that the page shows; of quality alone where nothing was timed."""
    if not study.places:
        scored = judged_quality(study)
        cells = [c for c in study.of("perplexity") if c["pretrained"] == scored]
        return [_line(study, None, cell, None) for cell in _ordered(cells)]
    judged = {
        (where.key, row["version"]): (row, record)
        for record in study.verdicts
        for row in record["rows"]
        if (where := place_of_row(row, record))
    }
    here: dict[str, dict[str, Record]] = {place.key: {} for place in study.places}
    for cell in [*study.of("vram_vs_T"), *study.of(*TIMED)]:  # the time, where there is one
        place = place_of(cell)
        if place is not None and place.key in here:
            here[place.key][cell["version"]] = cell
    return [
        _line(study, place, cell, judged.get((place.key, cell["version"])))
        for place in study.places
        for cell in _ordered(list(here[place.key].values()))
    ]


def judged_quality(study: Study) -> str | None:
    """The preset whose perplexity the table shows: a timed one, else one that is no toy."""
    scored = list(dict.fromkeys(cell["pretrained"] for cell in study.of("perplexity")))
    timed = [cell["pretrained"] for cell in study.of(*TIMED)]
    strong = [preset for preset in scored if preset not in TOO_WEAK]
    return next(iter([p for p in strong if p in timed] + strong + scored), None)


def _ordered(cells: list[Record]) -> list[Record]:
    return sorted(cells, key=lambda cell: number(cell["version"]))


def _line(
    study: Study, place: Place | None, cell: Record, judged: tuple[Record, Record] | None
) -> Line:
    row, record = judged if judged else ({}, {})
    version, preset = cell["version"], judged_quality(study)
    scored = {c["version"]: c for c in study.of("perplexity") if c["pretrained"] == preset}
    timed = not is_error(cell) and cell["benchmark_name"] in TIMED
    return Line(
        place=place.key if place else "",
        version=version,
        word=_word(row),
        fields=[
            Field(study.names[version], _number(study, version), number(version)[0]),
            _speedup(row, study),
            _milliseconds(cell) if timed else Field(MISSING),
            _bytes(cell, study),
            _quality(scored.get(version), gates_of(study.gates, preset or "")),
            Field(_word(row) or ("baseline" if timed else MISSING)),
            Field("; ".join(_remarks(row, cell))),
        ],
        details=list(_details(study, row, record, cell)),
        link=study.path(cell),
    )


def _number(study: Study, version: str) -> str:
    """A version's number, where that is not its name."""
    return version if study.names[version] != version else ""


def _word(row: Row) -> str:
    return str(row["verdict"]) if row.get("speedup") is not None else ""


def _speedup(row: Row, study: Study) -> Field:
    value = row.get("speedup")
    if value is None:
        return Field(MISSING)
    text = spoken(value, row["speedup_low"], row["speedup_high"], apart_from=1)
    return Field(text, f"over {study.names[row['baseline']]}", value)


def _milliseconds(cell: Record) -> Field:
    value, low, high = milliseconds(cell)
    return Field(spoken(value, low, high), "", value)


def _bytes(cell: Record, study: Study) -> Field:
    kept = cell.get("cache_bytes_per_token")
    if kept is None:
        return Field(MISSING)
    dense = [
        other["cache_bytes_per_token"]
        for other in study.records
        if other["version"] == "v1"
        and other["pretrained"] == cell["pretrained"]
        and other.get("cache_bytes_per_token")
    ]
    smaller = f"{dense[0] / kept:.2f}× smaller" if kept and dense and dense[0] != kept else ""
    return Field(size(kept) if kept else "none", smaller, kept)


def _quality(cell: Record | None, gates: Record | None) -> Field:
    if cell is None or is_error(cell):
        return Field(MISSING)
    if cell["version"] == cell["against"]:
        return Field("reference", f"{short(cell['perplexity'])}", 0.0)
    change = 100 * (cell["paired"]["perplexity_ratio"]["ratio"] - 1)
    return Field(change_words(cell), said(gates, cell["version"]), change)


def _remarks(row: Row, cell: Record) -> Iterator[str]:
    if is_error(cell):
        yield str(cell["error"])
    if row.get("flag"):
        yield str(row["flag"])
    if row and row.get("speedup") is None:
        yield str(row["verdict"])
    if row.get("remark"):
        yield str(row["remark"])
    if cell.get("disturbed"):
        yield f"{cell['disturbed']} of {_processes(cell['replicates'])} disturbed"


def _details(study: Study, row: Row, record: Record, cell: Record) -> Iterator[tuple[str, str]]:
    """What stands behind a row, by name."""
    if cell.get("version_description"):
        yield "Version", f"{cell['version']}, {cell['version_description']}"
    if row.get("speedup") is not None:
        yield "Interval", f"{100 * record['level']:.4g} %, over {_processes(row['replicates'])}"
        if row.get("clock_speedup"):
            yield "Speed-up by the clock", f"{short(row['clock_speedup'])}, drift not corrected"
        if row.get("p_adjusted") is not None:
            yield "p, adjusted", short(row["p_adjusted"], 2)
        if row.get("ceiling"):
            reached = f"{100 * row['share_of_ceiling']:.0f} % of it reached"
            yield "Largest possible", f"{short(row['ceiling'])} by {row['ceiling_from']}, {reached}"
        if row.get("smallest_detectable"):
            yield "Detectable here", f"from {100 * row['smallest_detectable']:.2g} % on"
    yield "Ran", ran(cell)
    if is_error(cell):
        yield "Why", str(cell.get("error_detail") or cell["error"])
        return
    for key, name in (("ttft_ms_median", "First token"), ("tpot_ms_median", "Further tokens")):
        if cell.get(key) is not None:
            yield name, f"{short(cell[key])} ms"
    backend = cell.get("sdpa_backend") or {}
    if backend:
        yield "Attention", ", ".join(dict.fromkeys(map(str, backend.values())))
    energy = (cell.get("energy") or {}).get("decode_j_per_token")
    if energy:
        joules = spoken(energy["point"], energy["low"], energy["high"])
        yield "Energy", f"{joules} J per decoded token"
    weighed = study.weighed.get((cell["version"], place_of(cell)))
    if weighed and not is_error(weighed):
        yield "Peak memory", size(weighed["peak_memory_bytes"])
        yield "Cache reserved", size(weighed["cache_reserved_bytes"])
    for other in study.of("perplexity"):
        if other["version"] == cell["version"] and not is_error(other):
            ppl, bits = short(other["perplexity"]), f"{other['bits_per_byte']:.3f}"
            yield f"Perplexity of {other['pretrained']}", f"{ppl}, {bits} bits a byte"
    yield "Weights", str(cell["weights"])


def _processes(count: int) -> str:
    return f"{count} process" + ("es" if count > 1 else "")
