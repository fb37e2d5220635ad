"""Datasheet peaks of known devices, drawn beside measured roofs."""

from __future__ import annotations

import re
from pathlib import Path

from kvbench.files.foreign import json_object
from kvbench.records.record import Record

PEAKS = Path(__file__).with_name("datasheet.yaml")
_MAKER = re.compile(r"^(NVIDIA |Tesla |GeForce |Quadro )+")


def read_roofs(path: str | Path) -> Record:
    """A `roofs.json`, of this machine or of the one that exports were made on.

    Raises FormatError, naming the file and the key, for one that no cell can be placed under.
    """
    needs = {"device_name": str, "dtype": str, "read_gb_s": float, "gemm_gflop_s": float}
    return json_object(path, "roofs.json", needs, {"copy_gb_s": float, "libraries": dict})


def with_datasheet(roofs: Record, peaks: str | Path = PEAKS) -> Record:
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
