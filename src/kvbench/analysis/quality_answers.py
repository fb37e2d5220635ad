"""What a study found on quality: a sentence a version, with the word of its gates."""

from __future__ import annotations

from collections.abc import Sequence

from kvbench.analysis import gate_table
from kvbench.analysis.gates import REFERENCE
from kvbench.analysis.sentences import (
    QUALITY,
    Section,
    quality_sentence,
    retrieval_sentence,
    with_gate,
)
from kvbench.records.names import cache_names
from kvbench.records.record import Record, is_error, measured
from kvbench.stats.digits import short


def quality_section(cells: Sequence[Record], gates: Record | None = None) -> Section | None:
    """What reading K and V through each cache does to perplexity, against v1; its gates' word."""
    names = cache_names({cell["version"]: cell for cell in cells})
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
    names = cache_names({cell["version"]: cell for cell in cells})
    scored = measured(cells)
    reference = next((cell for cell in scored if cell["version"] == REFERENCE), None)
    others = [cell for cell in scored if cell["version"] not in (REFERENCE, "v0")]
    if reference is None or not others:
        return None
    key = "max_retrieval_lost"
    answers = [with_gate(retrieval_sentence(cell, reference, names), gates, key) for cell in others]
    lengths = ", ".join(map(str, reference["lengths"]))
    about = f"retrieval, {reference['items']} items a task of {lengths} tokens"
    return Section(QUALITY, reference["pretrained"], about, answers)
