"""What a profile ran with: ncu's version, its passes, the driver, the clocks. Stdlib only."""

import re
import shutil
import subprocess

CLOCKS = ("driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem")
_VERSION = re.compile(r"Version (\d[\w.]*)")
_PASSES = re.compile(r"(\d+) pass(?:es)?\b|replay pass:? (\d+)", re.I)


def version(said: str) -> str | None:
    """The version in what `ncu --version` says."""
    found = _VERSION.search(said)
    return found[1] if found else None


def passes(said: str) -> int | None:
    """The most passes that ncu ran a kernel, or the program, for its counters."""
    return max((int(kernel or whole) for kernel, whole in _PASSES.findall(said)), default=None)


def clocks() -> dict[str, str] | None:
    """Driver version and clocks as the driver tells them; read, never set. None without a tool."""
    if not (tool := shutil.which("nvidia-smi")):
        return None
    asked = [tool, f"--query-gpu={','.join(CLOCKS)}", "--format=csv,noheader", "--id=0"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    told = [value.strip() for value in done.stdout.strip().split(",")]
    return dict(zip(CLOCKS, told, strict=True)) if len(told) == len(CLOCKS) else None
