"""Tables: one row per cell, as Markdown to read and CSV to work on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill

import pandas as pd

from kvbench.analysis import quality, roofline_table
from kvbench.analysis.table import Table
from kvbench.cell import PHASES
from kvbench.files import write_text
from kvbench.records.record import Row, apart, is_error
from kvbench.report.footer import footer
from kvbench.report.markdown import WIDTH, readable
from kvbench.report.selection import evenly_spaced

MOST = 400  # rows of a Markdown table; of more it shows these places, and the CSV beside it has all
PLACE = ("T", "depth", "P", "phase")  # where a cell lies in its benchmark
PLACES = {"batch_size": 4, "T": 8, "depth": 8}


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


def energy(cell: Row) -> Row:
    """Joules a token of prefill and decode with their intervals; the idle power; or why not."""
    drawn = cell.get("energy") or {"reason": "not asked for"}
    row: Row = {"T": cell["T"]}
    for phase in PHASES:
        found = drawn.get(f"{phase}_j_per_token") or {}
        row |= {
            f"{phase}_j_per_token{end}": found.get(key)
            for end, key in (("", "point"), ("_low", "low"), ("_high", "high"))
        }
    return row | {key: drawn.get(key) for key in ("idle_w", "source", "reason")}


def energy_notes(cells: list[Row]) -> list[str]:
    """What the joules are of."""
    return [
        "Joules above what the idle device draws (idle_w) for the same time: of a GPU's whole "
        "board by NVML, of a CPU's packages by RAPL, with all that runs on them. Decode is what a "
        "generation draws beyond its prefill."
    ]


def vram(cell: Row) -> Row:
    """The peak and its parts, in bytes."""
    keys = ("peak_memory_bytes", "cache_reserved_bytes", "cache_used_bytes", "transient_bytes")
    parts = ("peak_activation_bytes", "baseline_memory_bytes", "peak_phase")
    process_keys = [key for key in ("peak_allocated_bytes", "peak_reserved_bytes") if key in cell]
    return {"T": cell["T"]} | {key: cell[key] for key in (*keys, *parts, *process_keys)}


def phase(cell: Row) -> Row:
    """Milliseconds per phase, and the instrumentation overhead."""
    spent = {f"{name}_ms": ms for name, ms in cell["time_phase_ms"].items()}
    return {"T": cell["T"], **spent, "instrumented_ratio": cell["instrumented_ratio"]}


def decode(cell: Row) -> Row:
    """Time per output token at one depth, with its interval."""
    low, high = (cell["tpot_ms_interval"][end] for end in ("low", "high"))
    return {
        "depth": cell["depth"],
        "tpot_ms": cell["tpot_ms_median"],
        "tpot_ms_low": low,
        "tpot_ms_high": high,
        "tokens_per_s": 1000 * cell["batch_size"] / cell["tpot_ms_median"],
        "replicates": cell["replicates"],
        "disturbed": cell["disturbed"],
    }


def capacity(cell: Row) -> Row:
    """The predicted batch, what it weighs, and what happened on both sides of it."""
    sides = {side["batch"]: side for side in cell["sides"]}
    within, beyond = (sides.get(cell["predicted_batch"] + n, {}) for n in (0, 1))
    reserved = {k: within[k] for k in ("peak_reserved_bytes",) if k in within}
    return {
        "tokens": cell["prompt_length"] + cell["T"],
        "budget_bytes": cell["budget_bytes"],
        "largest_batch": cell["predicted_batch"],
        "confirmed": "yes" if cell["confirmed"] else "no",
        "peak_bytes": within.get("peak_memory_bytes"),
        "peak_bytes_of_one_more": beyond.get("peak_memory_bytes"),
        **reserved,
        "bytes_per_sequence": cell["bytes_per_sequence"],
        "cache_bytes_per_sequence": cell["cache_bytes_per_sequence"],
    }


ROWS: dict[str, Callable[[Row], Row]] = {
    "capacity": capacity,
    "decode": decode,
    "energy": energy,
    "latency": latency,
    "vram": vram,
    "phase": phase,
    "perplexity": quality.row,
    "roofline": roofline_table.row,
}
# Where Markdown shows other columns than the CSV, or in another order.
READABLE = {"perplexity": quality.readable, "roofline": roofline_table.readable}
NOTES = {"perplexity": quality.notes, "energy": energy_notes, "roofline": roofline_table.notes}


def table(records: list[Row], kind: str, columns: Sequence[str] = ()) -> Table:
    """The table of one benchmark's cells; roofs among `records` give shares, gates their words.

    `columns` are the record's keys to show, for a benchmark that has no row function here.
    """
    roofs = next((r for r in records if r.get("benchmark_name") == "roofs"), None)
    cells, gates = apart([record for record in records if record is not roofs], "gates")
    row_of = ROWS.get(kind) or _row_of(columns)
    if kind == "perplexity":
        cells = quality.with_gates_and_floor(cells, next(iter(gates), None))
    return Table(
        f"{kind.capitalize()} of {cells[0]['pretrained']}",
        rows(cells, row_of, roofs),
        NOTES.get(kind, lambda _: [])(cells),
        cells,
        shown=rows(cells, READABLE[kind], roofs) if kind in READABLE else None,
    )


def rows(cells: list[Row], row_of: Callable[[Row], Row], roofs: Row | None = None) -> list[Row]:
    """One row per cell of one benchmark; an out-of-memory cell keeps its row and says so."""
    found = []
    for cell in cells:
        row = {"version": cell["version"], "batch_size": cell["batch_size"]}
        if is_error(cell):
            row |= {key: cell[key] for key in (*PLACE, "error") if key in cell}
        else:
            row |= row_of({**cell, "roofs": roofs} if roofs else cell)
        found.append(row)
    return found


def _row_of(columns: Sequence[str]) -> Callable[[Row], Row]:
    """A row of the place and these keys."""

    def row(cell: Row) -> Row:
        return {key: cell[key] for key in (*PLACE, *columns) if key in cell}

    return row


def publish(table: Table, markdown: str | Path, csv: str | Path) -> None:
    """Write a table as Markdown, with its notes and a footer below it, and as CSV, atomically.

    Of a table of too many rows Markdown shows a few batches and lengths.
    """
    frame = pd.DataFrame(table.rows)
    for name in {"T", "depth"} & set(frame):  # whole numbers, also where some rows have none
        frame[name] = frame[name].astype("Int64")
    write_text(csv, frame.to_csv(index=False, lineterminator="\n"))
    notes = [*table.notes, *([footer(table.cells)] if table.cells else [])]
    shown = table.rows if table.shown is None else table.shown
    if len(shown) > MOST:
        shown, note = few(shown)
        notes = [note, *notes]
    body, own = readable(shown)
    paragraphs = (fill(note, WIDTH) for note in [*own, *notes])
    write_text(markdown, "\n\n".join([f"# {table.title}", body, *paragraphs]).rstrip() + "\n")


def few(rows: list[Row]) -> tuple[list[Row], str]:
    """The rows of a few batches and lengths, and a line that says so."""
    kept, said = rows, []
    for name, most in PLACES.items():
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            chosen = evenly_spaced(values, most)
            kept = [row for row in kept if row.get(name) in (*chosen, None)]
            said.append(f"{name} {', '.join(map(str, chosen))}")
    return (
        kept,
        f"{len(kept):,} of {len(rows):,} rows, those of {'; '.join(said)}: all are in the CSV.",
    )
