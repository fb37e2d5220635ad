"""The machine that the evidence comes from: driver, clocks, versions, and its roofs, measured."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from kvbench.bench import roofs
from kvbench.job import nvml
from kvbench.ncu import runner

PACKAGES = ("torch", "triton", "numpy", "scipy", "transformers", "safetensors", "pytest")
TOOLS = {"ncu": ["--version"], "git": ["--version"], "gcc": ["--version"]}


def main(arguments: list[str] | None = None) -> None:
    """Write the facts; print the two that shares are worked out from."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args(arguments)
    if given.small:
        _briefly()
    before = driver()
    settings = {"dtype": "bfloat16", "device": "auto" if given.small else "cuda", "threads": 1}
    found: dict[str, Any] = {
        "packages": {name: _version(name) for name in PACKAGES},
        "tools": {name: _says(name, how) for name, how in TOOLS.items()},
        "driver": before,
        "roofs": roofs.run(settings),
        "driver_after": driver(),
    }
    Path(given.file).write_text(json.dumps(found, indent=1) + "\n")
    print(found["roofs"]["device_name"], f"{found['roofs']['read_gb_s']:.0f} GB/s read")


def driver() -> dict[str, Any]:
    """What the driver tells of this process's GPU, by its bindings; or why it tells nothing."""
    try:
        return nvml.clocks() | {"slowed_us": nvml.slowed_us()}
    except nvml.CounterError as reason:
        return {"absent": str(reason)}


def _says(name: str, how: list[str]) -> str | None:
    """The line with a tool's version; None where it is not installed."""
    tool = runner.find() if name == "ncu" else shutil.which(name)
    if tool is None:
        return None
    done = subprocess.run([tool, *how], capture_output=True, text=True, check=False)
    lines = [text for text in done.stdout.splitlines() if any(c.isdigit() for c in text)]
    return lines[-1] if name == "ncu" and lines else next(iter(lines), None)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _briefly() -> None:
    """Roofs of buffers that take moments."""
    roofs.SECONDS = roofs.CACHE_SECONDS = 0.0
    sizes: tuple[tuple[dict[str, Any], int], ...] = (
        (roofs.BUFFER_BYTES, 1 << 20),
        (roofs.CACHE_READS, 1 << 20),
        (roofs.GEMM_N, 64),
    )
    for table, size in sizes:
        table["cpu"] = size


if __name__ == "__main__":
    main()
