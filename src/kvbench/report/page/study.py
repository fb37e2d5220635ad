"""What a page is made from: the records of one study, by what they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from kvbench.analysis.answers import Section, sections
from kvbench.records.names import names_of
from kvbench.records.read import each_cell
from kvbench.records.record import TIMED, Record, Row, is_error, measured, timing_key
from kvbench.report.selection import evenly_spaced

NOT_CELLS = ("verdicts", "controls", "gates", "tradeoff", "roofs")
RAW = (  # keys of raw samples
    *("step_ms_median", "repeats", "plain_runs_ms", "by_depth", "by_layer"),
    *("window_tokens", "window_nll", "window_kl", "window_agreement"),
)
BATCHES, LENGTHS = 6, 10  # of each preset that a page shows; of more, evenly spaced ones
LAST = 10**6  # the place of versions without a number
COLOURS = 10  # of the page's palette
SPARE = 5  # the first of them for versions beyond v4


@dataclass(frozen=True, order=True)
class Place:
    """Where versions are compared: a preset, a batch, and the tokens generated or in the cache."""

    preset: str
    batch: int
    axis: str  # T or depth
    length: int

    @property
    def key(self) -> str:
        """What rows and plots know the place by."""
        return f"{self.series}|{self.axis}{self.length}"

    @property
    def series(self) -> str:
        """What places of one line over T or depth share."""
        return f"{self.preset}|{self.batch}"

    @property
    def words(self) -> str:
        """`batch 1, 16 tokens generated`."""
        what = "tokens generated" if self.axis == "T" else "tokens in the cache"
        return f"batch {self.batch}, {self.length:,} {what}"


@dataclass(frozen=True)
class Study:
    """The records of one study, each cell beside the file that it was read from."""

    name: str
    cells: Sequence[tuple[str, Record]]
    verdicts: Sequence[Record]
    roofs: Record | None = None
    gates: Sequence[Record] = ()
    joined: Sequence[Record] = ()

    @cached_property
    def records(self) -> list[Record]:
        """Every cell."""
        return [record for _, record in self.cells]

    @cached_property
    def names(self) -> dict[str, str]:
        """What each version is called, in the order of their numbers."""
        found = names_of(self.records)
        return {version: found[version] for version in sorted(found, key=number)}

    @cached_property
    def sections(self) -> list[Section]:
        """The answers, as the terminal has them."""
        return sections(self.verdicts, self.records, gates=self.gates, joined=self.joined)

    @cached_property
    def places(self) -> list[Place]:
        """The places that the page shows."""
        every = sorted(self._measured_places)
        shown = []
        for preset in dict.fromkeys(place.preset for place in every):
            own = [place for place in every if place.preset == preset]
            batches = evenly_spaced({place.batch for place in own}, BATCHES)
            for axis in ("T", "depth"):
                lengths = {place.length for place in own if place.axis == axis}
                kept = evenly_spaced(lengths, LENGTHS) if lengths else []
                shown += [
                    place
                    for place in own
                    if place.axis == axis and place.batch in batches and place.length in kept
                ]
        return shown

    @cached_property
    def _measured_places(self) -> set[Place]:
        return {place for r in self.records if (place := place_of(r)) is not None}

    @property
    def every_place(self) -> int:
        """How many places the study has."""
        return len(self._measured_places)

    @cached_property
    def headline(self) -> Place | None:
        """The place that the answers are of: the largest batch and length of the first verdicts."""
        for record in self.verdicts:
            own = [place for place in self.places if place.preset == record["pretrained"]]
            if own:
                return max(own, key=lambda place: (place.batch, place.length))
        return self.places[-1] if self.places else None

    def of(self, *benchmarks: str) -> list[Record]:
        """The cells of these benchmarks, by the names in their records."""
        return [record for record in self.records if record["benchmark_name"] in benchmarks]

    @cached_property
    def timed(self) -> dict[tuple[str, Place | None], Record]:
        """The timed cell of each version and place."""
        return {(cell["version"], place_of(cell)): cell for cell in self.of(*TIMED)}

    @cached_property
    def weighed(self) -> dict[tuple[str, Place | None], Record]:
        """The cell of each version and place whose memory was measured."""
        return {(cell["version"], place_of(cell)): cell for cell in self.of("vram_vs_T")}

    @cached_property
    def _paths(self) -> dict[int, str]:
        return {id(record): path for path, record in self.cells}

    def path(self, cell: Record) -> str:
        """The file of a cell, from the study's folder."""
        return self._paths[id(cell)].removeprefix(f"results/{self.name}/")

    def first(self) -> Record | None:
        """A cell that was measured, for what all of them share."""
        return next(iter(measured(self.of(*TIMED)) or measured(self.records)), None)

    def colour(self, version: str) -> str:
        """The version's colour, as a variable of the page's style.

        v0 to v4 have their own; the others take the spare ones, then those of v0 to v4 that the
        study lacks.
        """
        first = [f"v{n}" for n in range(SPARE)]
        if version in first:
            return f"var(--c{first.index(version)})"
        others = [name for name in self.names if name not in first]
        free = [*range(SPARE, COLOURS), *(n for n, v in enumerate(first) if v not in self.names)]
        return f"var(--c{free[others.index(version) % len(free)]})"


def read_study(name: str, paths: Iterable[str]) -> Study:
    """The study whose records these files hold: gathered cells, verdicts and roofs.

    Raises RecordError for a file that is not whole, ByteSumError as `records.each_cell`.
    """
    found: dict[str, list[Record]] = {kind: [] for kind in NOT_CELLS}
    cells = []
    for path, record in each_cell(paths):
        if record["benchmark_name"] in found:
            found[record["benchmark_name"]].append(record)
        else:
            cells.append((path, _slim(record)))
    roofs = next(iter(found["roofs"]), None)
    return Study(name, cells, found["verdicts"], roofs, found["gates"], found["tradeoff"])


def _slim(record: Record) -> Record:
    """A record of whose raw samples a run's time alone is left: many of them fill a memory."""
    kept = {key: value for key, value in record.items() if key not in RAW}
    if "processes" in kept:
        key = timing_key(record)
        kept["processes"] = [
            {name: process.get(name) for name in ("replicate", "machine_state")}
            | {"runs": [{key: run[key]} for run in process["runs"]]}
            for process in kept["processes"]
        ]
    return kept


def place_of_row(row: Row, record: Record) -> Place:
    """The place of a row of the verdicts `record`."""
    axis = "T" if "T" in row else "depth"
    return Place(record["pretrained"], row["batch_size"], axis, row[axis])


def place_of(cell: Record) -> Place | None:
    """Where a timed or weighed cell lies; None for one of another kind."""
    if cell["benchmark_name"] not in (*TIMED, "vram_vs_T"):
        return None
    axis = "T" if "T" in cell else "depth"
    return Place(cell["pretrained"], cell["batch_size"], axis, cell[axis])


def number(version: str) -> tuple[int, str]:
    """Sorts versions by number, v2 before v10; those of another name come last."""
    digits = version.removeprefix("v")
    return (int(digits) if digits.isdigit() else LAST), version


def milliseconds(cell: Record) -> tuple[float, float | None, float | None]:
    """A timed cell's milliseconds a token, with their interval."""
    if "T" in cell:
        tokens, ends = cell["T"], cell["time_total_ms_interval"]
        value = cell["time_per_token_ms_median"]
    else:
        tokens, ends, value = 1, cell["tpot_ms_interval"], cell["tpot_ms_median"]
    low, high = (None if ends[end] is None else ends[end] / tokens for end in ("low", "high"))
    return value, low, high


def ran(cell: Record) -> str:
    """How a cell really ran: `eager, native kernels (avx512)`."""
    if is_error(cell):
        return str(cell["error"])
    isa = f" ({cell['kernel_isa']})" if cell.get("kernel_isa") else ""
    return f"{cell['execution']}, {cell['kernel']} kernels{isa}"
