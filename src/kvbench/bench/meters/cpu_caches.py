"""The caches between a processor and its memory, as the system lists them."""

from __future__ import annotations

from pathlib import Path

from kvbench.records.record import Record

LISTED = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def caches(device: str, listed: Path = LISTED) -> list[Record]:
    """`name` and `size_bytes` of each level that holds data, the nearest first; none if unknown.

    On a CPU those of its first core, on CUDA the L2, which is all that torch tells.
    """
    if device == "cuda":
        import torch

        size = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0)
        return [{"name": "L2", "size_bytes": size}] if size else []
    found = []
    for folder in sorted(listed.glob("index*")):
        kind, level, size = (_read(folder / name) for name in ("type", "level", "size"))
        if kind in ("Data", "Unified") and size[-1:] in _UNITS and size[:-1].isdigit():
            found.append({"name": f"L{level}", "size_bytes": int(size[:-1]) * _UNITS[size[-1]]})
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
