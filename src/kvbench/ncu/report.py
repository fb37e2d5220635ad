"""Totals of an export: what all its launches did together, and what the file does not tell."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kvbench.files import Json
from kvbench.ncu.accounts import Accounts
from kvbench.ncu.checks import is_tensor_gemm, read_plus_write
from kvbench.ncu.errors import NcuError, naming
from kvbench.ncu.metrics import QUANTITIES, RELATED, WANTED
from kvbench.ncu.profile import Profile, read
from kvbench.ncu.remarks import PERMISSION


@dataclass
class _Sum:
    """Launches added up; a quantity that one of them lacks has no total."""

    launches: int = 0
    rows: int = 0
    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    have: Counter[str] = field(default_factory=Counter)

    def add(self, launches: int, quantities: dict[str, float]) -> None:
        self.launches += launches
        self.rows += 1
        for quantity, value in quantities.items():
            self.sums[quantity] += value
            self.have[quantity] += 1

    def total(self, quantity: str) -> int | None:
        """The total: bytes, ns and FLOP are whole numbers, whatever the printed rounding."""
        if not self.rows or self.have[quantity] < self.rows:
            return None
        return round(self.sums[quantity])


def _known(profile: Profile) -> None:
    """Raise NcuError when the file can have no totals."""
    if profile.remarks.refused:
        raise NcuError(PERMISSION)
    if not profile.tables:
        raise NcuError(profile.remarks.reason())


def launches(
    path: str | Path, *, flop_per_tensor_inst: float | None = None, progress: bool = False
) -> Iterator[Json]:
    """Each launch of an export, process by process, with the quantities the file tells.

    Keys: process, id (None for a row of a summary), name, launches (1, or the invocations of
    a summary's row), and dram_bytes, l2_bytes, l1_bytes, time_ns, core_flop, tensor_flop as
    floats or None. Raises like `parse`.
    """
    with naming(path):
        profile = read(path, progress)
        _known(profile)
        for table, locale, _ in profile.locales():
            accounts = Accounts(table, locale, flop_per_tensor_inst)
            for process, key, index in table.each():
                found = accounts.launch(index)
                yield {
                    "process": process,
                    "id": key if isinstance(key, int) else None,
                    "name": table.kernels[table.kernel[index]],
                    "launches": table.invocations[index],
                    **{quantity: found.get(quantity) for quantity in QUANTITIES},
                }


class _Report:
    """Totals over all tables of a profile, per kernel and together, and notes on them."""

    def __init__(self, profile: Profile, flop_per_tensor_inst: float | None):
        self.profile, self.given = profile, flop_per_tensor_inst
        self.all = _Sum()
        self.kernels: dict[str, _Sum] = {}
        self.families: Counter[str] = Counter()  # FLOP of the CUDA cores
        self.used: Counter[tuple[str, str]] = Counter()
        self.reasons: dict[str, str] = {}
        self.left_out = 0  # launches without any of the quantities
        self.idle: dict[str, None] = {}  # GEMM kernels whose tensor counters read zero
        self.checks: list[str] = []
        self.grouped = False
        for table, locale, guessed in profile.locales():
            accounts = Accounts(table, locale, flop_per_tensor_inst)
            for index in range(len(table)):
                name = table.kernels[table.kernel[index]]
                self._add(name, table.invocations[index], accounts.launch(index))
                self.families.update(accounts.families(index))
            self.used += accounts.used
            self.reasons |= {q: why for q, why in accounts.reasons.items() if why}
            self.grouped |= guessed
            if note := read_plus_write(table, locale):
                self.checks.append(note)

    def _add(self, kernel: str, launches: int, found: dict[str, float]) -> None:
        if not found:
            self.left_out += launches
            return
        if "core_flop" in found and "tensor_flop" in found:
            found["flop"] = found["core_flop"] + found["tensor_flop"]
        if found.get("tensor_flop") == 0 and is_tensor_gemm(kernel):
            self.idle[kernel] = None
        self.all.add(launches, found)
        self.kernels.setdefault(kernel, _Sum()).add(launches, found)

    def per_kernel(self) -> list[Json]:
        """Totals per kernel name, the longest first."""
        rows = [
            {
                "name": name,
                "launches": kernel.launches,
                "time_ns": kernel.total("time_ns"),
                "dram_bytes": kernel.total("dram_bytes"),
                "flop": kernel.total("flop"),
            }
            for name, kernel in self.kernels.items()
        ]
        return sorted(rows, key=lambda row: (-(row["time_ns"] or 0), row["name"]))

    def notes(self) -> list[str]:
        """What a reader must know to trust the totals."""
        return [*self._sources(), *self._shape(), *self._doubts()]

    def _sources(self) -> Iterator[str]:
        for quantity in QUANTITIES:
            labels = [label for q, label in self.used if q == quantity]
            for label in labels:
                count = f" ({self.used[quantity, label]} launches)" if len(labels) > 1 else ""
                yield f"{quantity} from {label}{count}"
            if labels and quantity == "l1_bytes":
                yield "l1_bytes hold no copies by TMA, which go past L1 (compute capability 9.0 on)"
            if quantity in self.reasons:
                yield f"{quantity}: {self.reasons[quantity]}"
            elif not labels and (others := self._related(quantity)):
                named = ", ".join(others[:3])
                yield f"{quantity}: not known from {named}; export {WANTED[quantity]}"
            have, rows = self.all.have[quantity], self.all.rows
            if 0 < have < rows:
                yield f"{quantity}: only {have} of {rows} launches have it, so there is no total"
        if len(self.families) > 1 and self.all.total("core_flop") is not None:
            parts = ", ".join(f"{family} {flop:.0f}" for family, flop in self.families.items())
            yield f"core_flop by family: {parts}"
        if self.all.total("flop") is None:
            yield "flop of a kernel needs both core_flop and tensor_flop"

        if self.given and not any("x " + f"{self.given:g}" in label for _, label in self.used):
            yield "flop_per_tensor_inst has no effect: tensor instructions are not in the table"

    def _related(self, quantity: str) -> list[str]:
        """Metrics of the file that are about a quantity, though it cannot be read from them."""
        pattern = RELATED.get(quantity)
        return sorted(name for name in self.profile.names if pattern and pattern.fullmatch(name))

    def _shape(self) -> Iterator[str]:
        if len(devices := sorted(self.profile.devices)) > 1:
            yield f"launches of {len(devices)} devices ({', '.join(devices)}) are added up"
        if any("per cycle" in label for _, label in self.used):
            yield "rates per cycle are rounded as printed, and so is what is worked out from them"
        if any(layout.kind == "summary" for layout in self.profile.layouts):
            yield "totals are Average x Invocations of a summary"
        if any(f.startswith("Range:") for layout in self.profile.layouts for f in layout.fields):
            yield "launches are listed by NVTX range: one in nested ranges counts in each"
        if any(table.scaled for table in self.profile.tables):
            yield "values are rounded to the digits of their scaled units"
        if self.grouped:
            yield "commas are read as thousands: nothing else in the file tells its locale"
        if self.left_out:
            yield f"{self.left_out} launches have none of the counters and are left out"

    def _doubts(self) -> Iterator[str]:
        yield from self.checks
        if self.idle:
            yield (
                "tensor counters read 0 on GEMM kernels, so they may be the wrong ones for this "
                "GPU: " + ", ".join(name[:80] for name in list(self.idle)[:3])
            )
        tables = self.profile.tables
        if any(a.repeats(b) for i, a in enumerate(tables) for b in tables[:i]):
            yield "two tables hold the same process and ID; their launches count separately"
        for error in self.profile.remarks.errors:
            yield f'ncu reported "{error}"'
        if self.profile.remarks.unterminated:
            yield "the last row has no newline: rows after it may be lost"


def parse(
    path: str | Path,
    *,
    flop_per_tensor_inst: float | None = None,
    progress: bool = False,
    families: bool = False,
) -> Json:
    """Totals of an Nsight Compute CSV export.

    Units: bytes, ns, FLOP (a multiply-add is two). A quantity the file does not tell for every
    launch is None and named in "missing". `flop_per_tensor_inst` is the calibrated FLOP of one
    tensor instruction, for V100 and T4. `families` adds "core_flop_by", FLOP of the CUDA cores by
    fp32, fp64 and packed fp16. Raises NcuError, one line that names the file, for one that has
    no totals or cannot be trusted, OSError for one that cannot be read.
    """
    with naming(path):
        return totals_of(read(path, progress), flop_per_tensor_inst, families)


def totals_of(
    profile: Profile, flop_per_tensor_inst: float | None = None, families: bool = False
) -> Json:
    """What `parse` says of an export, of one that was read. Raises NcuError."""
    _known(profile)
    report = _Report(profile, flop_per_tensor_inst)
    if not report.all.rows:
        why = profile.remarks.errors or ["none of the counters this needs is in the table"]
        raise NcuError(f"no launch of {report.left_out} can be counted: {why[0]}")
    totals = {quantity: report.all.total(quantity) for quantity in QUANTITIES}
    apart = {family: round(flop) for family, flop in report.families.items()}
    if totals["core_flop"] is None:
        apart = {}
    return {
        "launches": report.all.launches,
        **totals,
        **({"core_flop_by": apart} if families else {}),
        "kernels": report.per_kernel(),
        "missing": [quantity for quantity in QUANTITIES if totals[quantity] is None],
        "notes": report.notes(),
        "ncu_version": profile.remarks.version,
        "gpu": ", ".join(sorted(profile.gpus)) or None,
        "sha256": profile.sha256,
    }
