"""What runs a cell: `execution` and `kernel` as asked for, settled on what this process has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kvbench.kernels.stepped import settle_step


@dataclass(frozen=True)
class Choice:
    """What really runs, for the record, and why it is not the fastest where auto fell back."""

    execution: str  # eager | graph | compile
    kernel: str  # torch | native | triton
    reason: str | None = None

    @property
    def static(self) -> bool:
        """Whether steps are those of `kvbench.static_step`, the same work at every depth."""
        return self.execution != "eager" or self.kernel == "triton"


def settle(cell: dict[str, Any], device: str) -> Choice:
    """Settle a cell's `execution` and `kernel` on `device` (cpu or cuda).

    Raises RuntimeError where what is asked for by name is not to be had.
    """
    execution, kernel = cell.get("execution", "auto"), cell.get("kernel", "auto")
    if device == "cuda" or execution in ("graph", "compile") or kernel == "triton":
        return Choice(*settle_step(cell, device))
    if kernel not in ("auto", "torch"):
        raise RuntimeError(f"kernel: {kernel} is not to be had on {device}; use auto")
    return Choice("eager", "torch")
