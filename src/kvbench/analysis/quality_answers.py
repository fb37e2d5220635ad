"""What a study found on quality: a sentence a version, with the word of its gates."""

from __future__ import annotations

from collections.abc import Sequence

from kvbench.analysis import gate_table
from kvbench.analysis.gates import REFERENCE
from kvbench.analysis.retrieval import reference_of
from kvbench.analysis.sentences import (
    CHOICE,
    QUALITY,
    Answer,
    Section,
    quality_sentence,
    retrieval_sentence,
    with_gate,
)
from kvbench.analysis.tradeoff import UNBEATEN, words
from kvbench.records.names import names_of
from kvbench.records.record import Record, is_error, measured
from kvbench.stats.digits import short

SAID = {"bytes": "a token", "prefill": "prefill", "time": "a token", "quality": "perplexity"}


def choice_section(record: Record) -> Section | None:
    """What stands where no other version beats it, in bytes, time and quality together."""
    best = [row for row in record["rows"] if row[UNBEATEN]]
    names = record["names"]
    if not best:
        return None
    answers = []
    for row in best:
        said = SAID | ({"time": "a step"} if record["timed"] == "decode" else {})
        parts = [f"{text} {what}" for key, what in said.items() if (text := words(row, key))]
        if row["version"] in record.get("ran_otherwise", []):
            parts.append("its time of another implementation than dense's")
        text = ", ".join([*parts, *([row["gate"]] if row["gate"] else [])])
        name = names.get(row["version"], row["version"])
        answers.append(
            Answer(
                CHOICE, row["version"], name, REFERENCE, names.get(REFERENCE, REFERENCE),
                UNBEATEN, None, None, None, None, f"nothing beats {name}: {text}", row, row["gate"],
            )
        )  # fmt: skip
    beaten = [names.get(r["version"], r["version"]) for r in record["rows"] if r[UNBEATEN] is False]
    about = f"in {', '.join(record['axes'])} together, time at {record['place']}"
    about += f"; beaten: {', '.join(beaten)}" if beaten else ""
    return Section(CHOICE, record["pretrained"], about, answers)


def quality_section(cells: Sequence[Record], gates: Record | None = None) -> Section | None:
    """What reading K and V through each cache does to perplexity, against v1; its gates' word."""
    names = names_of(cells)
    kept = [c for c in cells if is_error(c) or c["version"] not in (c["against"], "v0")]
    answers = [with_gate(quality_sentence(cell, names), gates) for cell in kept]
    scored = measured(cells)
    if not answers or not scored:
        return None
    first = scored[0]
    plain = first["modes"]["teacher_forced"]["perplexity"]
    about = (
        f"perplexity {short(plain)} on {first['n_windows']} windows of {first['context']} tokens "
        f"of {first['text']}"
    )
    if gates and gates["rows"]:
        about += f"; gates: {gate_table.asked(gates)}"
    return Section(QUALITY, first["pretrained"], about, answers)


def retrieval_section(cells: Sequence[Record], gates: Record | None = None) -> Section | None:
    """Which items that v1 answers each cache loses, where v1 was measured."""
    names = names_of(cells)
    scored = measured(cells)
    reference = reference_of(scored)
    others = [cell for cell in scored if cell["version"] not in (REFERENCE, "v0")]
    if reference is None or not others:
        return None
    key = "max_retrieval_lost"
    answers = [with_gate(retrieval_sentence(cell, reference, names), gates, key) for cell in others]
    lengths = ", ".join(map(str, reference["lengths"]))
    about = f"retrieval, {reference['items']} items a task of {lengths} tokens"
    return Section(QUALITY, reference["pretrained"], about, answers)
