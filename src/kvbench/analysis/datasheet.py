"""Datasheet peaks of known devices, drawn beside measured roofs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kvbench.records.record import Record

PEAKS = Path(__file__).with_name("datasheet.yaml")
_MAKER = re.compile(r"^(NVIDIA |Tesla |GeForce |Quadro )+")


def with_datasheet(roofs: Record, peaks: str | Path = PEAKS) -> dict[str, Any]:
    """A roofs record with `datasheet`: gb_s and gflop_s of its device and dtype, or None.

    The device's whole name must be listed: a laptop's or a PCIe card of the same number is another
    device. gflop_s is None for a dtype without an entry.
    """
    import yaml

    name = _MAKER.sub("", roofs["device_name"])
    for entry in yaml.safe_load(Path(peaks).read_text()):
        if name in entry["names"]:
            entry_facts = {key: entry[key] for key in ("gb_s", "sparsity", "accumulate", "source")}
            rate = entry["gflop_s"].get(roofs["dtype"])
            return {**roofs, "datasheet": {"name": name, "gflop_s": rate, **entry_facts}}
    return {**roofs, "datasheet": None}
