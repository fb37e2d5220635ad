"""From the counters of a table to the six quantities of each launch."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass

from kvbench.ncu.metrics import (
    QUANTITIES,
    Option,
    byte_options,
    core_families,
    core_option,
    tensor_option,
    time_options,
)
from kvbench.ncu.store import Table


@dataclass(frozen=True)
class _Source:
    """An option with the arrays it reads."""

    label: str
    terms: list[tuple[array[float], float]]
    over: array[float] | None
    times: list[array[float]]

    def value(self, launch: int) -> float:
        """The quantity of one launch, NaN when a counter is missing: NaN passes through sums."""
        total = 0.0
        for values, factor in self.terms:
            total += values[launch] * factor
        if self.over is not None:
            total = total / self.over[launch] if self.over[launch] else math.nan
        for values in self.times:
            total *= values[launch]
        return total


class Accounts:
    """The quantities of each launch of a table, and which counters they came from."""

    def __init__(self, table: Table, locale: str, flop_per_tensor_inst: float | None):
        self.used: Counter[tuple[str, str]] = Counter()  # (quantity, label) -> launches
        self.reasons: dict[str, str] = {}  # quantity -> why it is unknown
        self._values = {name: getattr(c, locale) for name, c in table.columns.items()}
        names = set(self._values)
        core, self.reasons["core_flop"] = core_option(names)
        tensor, self.reasons["tensor_flop"] = tensor_option(names, flop_per_tensor_inst)
        options: dict[str, tuple[Option | None, ...]] = {
            "dram_bytes": byte_options("dram_bytes"),
            "l2_bytes": byte_options("l2_bytes"),
            "l1_bytes": byte_options("l1_bytes"),
            "time_ns": time_options(),
            "core_flop": (core,),
            "tensor_flop": (tensor,),
        }
        self._sources = [
            (quantity, [self._source(o) for o in options[quantity] if o and self._has(o)])
            for quantity in QUANTITIES
        ]
        self._families = {f: self._source(o) for f, o in core_families(names)[0].items()}

    def _has(self, option: Option) -> bool:
        wanted = {name for name, _ in option.terms} | ({option.over} if option.over else set())
        return wanted | set(option.times) <= self._values.keys()

    def _source(self, option: Option) -> _Source:
        terms = [(self._values[name], factor) for name, factor in option.terms]
        over = self._values[option.over] if option.over else None
        return _Source(option.label, terms, over, [self._values[name] for name in option.times])

    def families(self, launch: int) -> dict[str, float]:
        """FLOP of the CUDA cores of one launch by family: fp32, fp64, packed fp16."""
        found = {family: source.value(launch) for family, source in self._families.items()}
        return {family: value for family, value in found.items() if value == value}

    def launch(self, launch: int) -> dict[str, float]:
        """The quantities of one launch that the file tells; the others are absent."""
        found = {}
        for quantity, sources in self._sources:
            for source in sources:
                value = source.value(launch)
                if value == value:
                    found[quantity] = value
                    self.used[quantity, source.label] += 1
                    break
        return found
