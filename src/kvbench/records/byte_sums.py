"""Memory records whose bytes do not add up are refused, by name. Standard library only."""

from __future__ import annotations

from kvbench.costs.forward import kept_bytes
from kvbench.costs.layout import Layout
from kvbench.records.record import Record, is_error


class ByteSumError(ValueError):
    """A memory record whose parts are not its whole: the file, and which sum fails."""


def check_bytes(record: Record, name: str) -> None:
    """Hold a memory record to its own sums, and its cache to the closed form; others pass.

    Raises ByteSumError naming `name`, the two sides and their difference.
    """
    if record.get("benchmark_name") != "vram_vs_T" or is_error(record):
        return
    parts = ("baseline_memory_bytes", "cache_reserved_bytes", "transient_bytes")
    peaks = (record["prefill_peak_bytes"], record["decode_peak_bytes"] or 0)
    sums = {
        f"peak_memory_bytes = {' + '.join(parts)}": (
            record["peak_memory_bytes"],
            sum(record[part] for part in parts),
        ),
        "peak_activation_bytes = the larger of prefill_peak_bytes and decode_peak_bytes": (
            record["peak_activation_bytes"],
            max(peaks),
        ),
    }
    if record.get("cache_tokens") is not None:
        sums["cache_used_bytes = the closed form of cache_layout for cache_tokens"] = (
            record["cache_used_bytes"],
            closed_form(record),
        )
    for rule, (found, expected) in sums.items():
        if found != expected:
            raise ByteSumError(
                f"{name}: {rule} does not hold: {found} is not {expected} ({found - expected:+d} "
                "bytes); delete it and run again"
            )
    if record["cache_used_bytes"] > record["cache_reserved_bytes"]:
        raise ByteSumError(
            f"{name}: cache_used_bytes {record['cache_used_bytes']} exceeds cache_reserved_bytes "
            f"{record['cache_reserved_bytes']}; delete it and run again"
        )


def closed_form(record: Record) -> int:
    """Bytes that hold `cache_tokens` tokens, from the shape and the layout alone."""
    kept, tokens = Layout(**record["cache_layout"]), record["cache_tokens"]
    place = record["model_config"], record["layer_owner"], record["batch_size"]
    return kept_bytes(*place, kept, tokens)
