"""Tables: one row per cell, as Markdown to read and CSV to work on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from kvbench.records import provenance
from kvbench.store import write_text

Row = dict[str, Any]


def latency(cell: Row) -> Row:
    """Whole time with its interval, time per token, TTFT and TPOT."""
    low, high = (cell["time_total_ms_interval"][end] for end in ("low", "high"))
    return {
        "T": cell["T"],
        "total_ms": cell["time_total_ms_median"],
        "total_ms_low": low,
        "total_ms_high": high,
        "per_token_ms": cell["time_per_token_ms_median"],
        "ttft_ms": cell["ttft_ms_median"],
        "tpot_ms": cell["tpot_ms_median"],
        "replicates": cell["replicates"],
        "disturbed": cell["disturbed"],
        "overflow_steps": cell["overflow_steps"],
    }


def vram(cell: Row) -> Row:
    """The peak and its parts, in bytes."""
    keys = ("peak_memory_bytes", "baseline_memory_bytes", "peak_activation_bytes")
    parts = ("cache_used_bytes", "cache_reserved_bytes", "transient_bytes", "peak_phase")
    return {"T": cell["T"]} | {key: cell[key] for key in (*keys, *parts)}


def phase(cell: Row) -> Row:
    """Milliseconds per phase, and what looking cost."""
    spent = {f"{name}_ms": ms for name, ms in cell["time_phase_ms"].items()}
    return {"T": cell["T"], **spent, "instrumented_ratio": cell["instrumented_ratio"]}


def perplexity(cell: Row) -> Row:
    """Perplexity in both modes, and the degradation that the cache costs."""
    plain, cached = cell["modes"]["teacher_forced"], cell["modes"]["cached"]
    return {
        "text": cell["text"],
        "tokens": cell["n_tokens"],
        "perplexity_teacher_forced": plain["perplexity"],
        "perplexity_cached": cached["perplexity"],
        "degradation_percent": 100 * (cached["perplexity"] / plain["perplexity"] - 1),
        "loss_cached": cached["loss"],
        "bits_per_byte_cached": cached["bits_per_byte"],
        "cache_bytes_per_token": cell["cache_bytes_per_token"],
    }


def roofline(cell: Row) -> Row:
    """FLOP, modelled bytes, measured time, and the rates they make."""
    ms = cell["time_ms_median"]
    return {
        "phase": cell["phase"],
        "P": cell["P"],
        "gflop": cell["flop"] / 1e9,
        "modelled_mb": cell["bytes"] / 1e6,
        "time_ms": ms,
        "flop_per_byte": cell["intensity"],
        "gflop_per_s": cell["flop"] / ms / 1e6,
        "modelled_gb_per_s": cell["bytes"] / ms / 1e6,
    }


ROWS = {
    "latency": latency,
    "vram": vram,
    "phase": phase,
    "perplexity": perplexity,
    "roofline": roofline,
}


def frame(kind: str, records: list[Row]) -> pd.DataFrame:
    """One row per cell of one kind; an out-of-memory cell keeps its row and says so."""
    rows = []
    for cell in records:
        row = {"version": cell["version"], "batch_size": cell["batch_size"]}
        if "error" in cell:
            row |= {key: cell[key] for key in ("T", "P", "phase", "error") if key in cell}
        else:
            row |= ROWS[kind](cell)
        rows.append(row)
    return pd.DataFrame(rows)


def write(kind: str, records: list[Row], markdown: str | Path, csv: str | Path) -> None:
    """Write both forms atomically. Raises KeyError for an unknown kind."""
    title = f"{kind.capitalize()} of {records[0]['pretrained']}"
    publish(title, frame(kind, records), [provenance(records)], markdown, csv)


def publish(
    title: str, table: pd.DataFrame, notes: list[str], markdown: str | Path, csv: str | Path
) -> None:
    """Write one table as Markdown, with its notes below it, and as CSV, atomically."""
    write_text(csv, table.to_csv(index=False, lineterminator="\n"))
    body = table.to_markdown(index=False, floatfmt=".5g", missingval="-")
    write_text(markdown, "\n\n".join([f"# {title}", body, *notes]).rstrip() + "\n")
