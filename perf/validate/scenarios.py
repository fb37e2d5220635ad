"""What simulated studies show of each promise that the statistics make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from kvbench.analysis import regression, scaling
from kvbench.analysis.verdicts import judge
from kvbench.stats.decisions import FASTER, SLOWER, verdicts
from kvbench.stats.paired import from_log_ratios
from kvbench.stats.stopping import ALPHA, FIRST, decide, half_width_of
from kvbench.stats.windows import block_bootstrap_mean, document_mean
from perf.validate.machines import Machine, Record, decode_cells, plain, study
from perf.validate.scenario import Rng, Scenario

MARGIN = 0.02
VERSIONS = ("v0", "v1", "v2", "v3", "v4")
WORST = Machine("neighbour", outliers=True)
DEPTHS = (16, 64, 128, 192, 256)


def scenarios() -> Iterator[Scenario]:
    """All of them, in the order of the table."""
    yield from _same()
    yield from _effects()
    yield from _days()
    yield from _crossings()
    yield from _gates()
    yield from _texts()
    yield from _stopped()


def wrong(rows: Sequence[Record]) -> float:
    """Share of false words among all words, of rows without a difference."""
    return float(any(row["verdict"] in (FASTER, SLOWER) for row in rows))


def _same() -> Iterator[Scenario]:
    """Identical versions: a word for a difference is false."""
    machines = {
        "quiet": Machine(),
        "walk": Machine("walk"),
        "neighbour": Machine("neighbour"),
        "walk, outliers": Machine("walk", outliers=True),
        "neighbour, outliers": WORST,
        "quiet, outliers": Machine(outliers=True),
    }
    for replicates in (3, 5, 8):
        for name, machine in machines.items():

            def once(rng: Rng, machine: Machine = machine, n: int = replicates) -> float:
                return wrong(judge(study(rng, {"v1": 0, "v2": 0}, machine, n), MARGIN)["rows"])

            title = f"identical, 1 row, {name}, {replicates} replicates"
            yield Scenario(title, "false word at most 5 %", once, 0, 0.05, 1000)
    shapes = {
        "4 rows": (VERSIONS, (8,)),
        "8 rows": (VERSIONS, (8, 16)),
        "40 rows": (VERSIONS, tuple(range(8, 18))),
    }
    for shape, (versions, lengths) in shapes.items():
        for replicates in (3, 5, 8):
            for machine in (Machine("walk"), WORST):

                def family(
                    rng: Rng,
                    machine: Machine = machine,
                    n: int = replicates,
                    versions: Sequence[str] = versions,
                    lengths: Sequence[int] = lengths,
                ) -> float:
                    same = dict.fromkeys(versions, 0.0)
                    return wrong(judge(study(rng, same, machine, n, lengths), MARGIN)["rows"])

                noise = machine.drift + (", outliers" if machine.outliers else "")
                title = f"identical, {shape}, {noise}, {replicates} replicates"
                studies = 100 if shape == "40 rows" else 400
                yield Scenario(title, "any false word at most 5 %", family, 0, 0.05, studies)


def _effects() -> Iterator[Scenario]:
    """Known differences: the interval holds them, and what is said to be seen is seen."""
    for replicates in (3, 5, 8):
        for machine in (Machine("walk"), Machine("neighbour")):

            def covered(rng: Rng, machine: Machine = machine, n: int = replicates) -> float:
                effects = {"v1": 0.0, "v2": np.log(1.05)}
                (row,) = judge(study(rng, effects, machine, n), MARGIN)["rows"]
                return float(row["speedup_low"] <= 1 / 1.05 <= row["speedup_high"])

            title = f"interval of +5 %, {machine.drift}, {replicates} replicates"
            yield Scenario(title, "holds it 95 %", covered, 0.93, 0.97, 1000)
    for machine in (Machine(), Machine("walk"), Machine("neighbour")):

        def together(rng: Rng, machine: Machine = machine) -> float:
            effects = {v: np.log(1.05) * (v != "v1") for v in VERSIONS}
            rows = judge(study(rng, effects, machine, 3), MARGIN)["rows"]
            true = [1.05 if row["version"] == "v1" else 1 / 1.05 for row in rows]
            low, high = ([row[f"speedup_{end}"] for row in rows] for end in ("low", "high"))
            return float(np.mean([a <= x <= b for a, x, b in zip(low, true, high, strict=True)]))

        title = f"intervals of +5 %, 4 rows, {machine.drift}, 3 replicates"
        yield Scenario(title, "hold it 95 %", together, 0.93, 1, 400)


def _days() -> Iterator[Scenario]:
    """One version measured again on another day, whose pace no yardstick measured."""
    for replicates in (5, 8):

        def once(rng: Rng, n: int = replicates) -> float:
            machine = plain(Machine())
            first = study(rng, {"v1": 0, "v2": 0}, machine, n)
            later = study(rng, {"v1": 0, "v2": 0.05 * rng.normal()}, machine, n, day=30)
            return wrong(judge([first[0], later[1]], MARGIN)["rows"])

        title = f"identical, v2 of another day (5 %), {replicates} replicates"
        yield Scenario(title, "false word at most 5 %", once, 0, 0.05, 300)


def _lines(rng: Rng, machine: Machine, gap: float, gain: float, n: int) -> Record:
    """The depth table's row of a version `gap` ms slower at 0, winning `gain` ms a token."""
    line = {d: {"v1": 2 + 0.004 * d, "v2": 2 + gap + (0.004 - gain) * d} for d in DEPTHS}
    cells = decode_cells(study(rng, {"v1": 0, "v2": 0}, machine, n, DEPTHS), line)
    cells = [c | {"model_config": c["model_config"] | {"block_size": 256}} for c in cells]
    return next(row for row in scaling.rows(cells, None) if row["version"] == "v2")


def _crossings() -> Iterator[Scenario]:
    for machine in (Machine("walk"), Machine("neighbour")):
        for n in (5, 8):

            def slope(rng: Rng, machine: Machine = machine, n: int = n) -> float:
                row = _lines(rng, machine, 0.1, 0.1 / 60, n)
                return float(
                    row["slope_us_low"] <= 1000 * (0.004 - 0.1 / 60) <= row["slope_us_high"]
                )

            def crossing(rng: Rng, machine: Machine = machine, n: int = n) -> float:
                row = _lines(rng, machine, 0.1, 0.1 / 60, n)
                low, high = row["break_even_low"], row["break_even_high"]
                return float(low is not None and low <= 61 and (high is None or high >= 59))

            def named(rng: Rng, machine: Machine = machine, n: int = n) -> float:
                row = _lines(rng, machine, 0.0, 0.0, n)
                return float(not str(row["remark"]).endswith("too close to tell"))

            def contradicted(rng: Rng, machine: Machine = machine, n: int = n) -> float:
                row = _lines(rng, machine, 0.1, 0.0, n)
                none = row["remark"] and row["remark"].startswith(("none", "never", "beyond"))
                return float(bool(none and row["break_even_high"] is not None))

            where = f"{machine.drift}, {n} replicates"
            yield Scenario(f"slope, {where}", "interval holds it 95 %", slope, 0.93, 0.98, 300)
            yield Scenario(
                f"break-even at 60, {where}", "interval holds it 95 %", crossing, 0.93, 1, 300
            )
            yield Scenario(
                f"two identical lines, {where}",
                "any other word than `too close` at most 5 %",
                named,
                0,
                0.05,
                300,
            )
            yield Scenario(
                f"never by 5 %, {where}", "no `none` beside an interval", contradicted, 0, 0, 200
            )


def _gate(rng: Rng, n: int, day: float, machine: Machine, late: float = 0.0) -> list[Record]:
    """Rows of the gate on 45 cells, the second study `day` slower, its first cell `late` slower."""
    same = dict.fromkeys(VERSIONS, 0.0)
    lengths = tuple(range(8, 17))
    before, now = (study(rng, same, plain(machine), n, lengths) for _ in range(2))
    for number, cell in enumerate(now):
        factor = np.exp(day + (late if number == 0 else 0))
        for process in cell["processes"]:
            for run in process["runs"]:
                run["time_total_ms"] *= factor
    named = [[(f"{w}, {i}", c) for i, c in enumerate(s)] for w, s in (("a", now), ("b", before))]
    return regression.against(named[0], named[1], margin=0.05)["rows"]


def _gates() -> Iterator[Scenario]:
    for n in (3, 5, 8):
        for title, days, machine in (
            ("same day", 0.0, Machine()),
            ("days differ by 5 %", 0.05, Machine()),
            ("days differ by 10 %", 0.10, Machine()),
            ("walk", 0.0, Machine("walk")),
        ):

            def alarm(rng: Rng, n: int = n, d: float = days, m: Machine = machine) -> float:
                rows = _gate(rng, n, d * rng.normal(), m)
                return float(any(row["regression"] for row in rows))

            name = f"gate, identical code, {title}, {n} replicates"
            yield Scenario(name, "alarm in at most 5 %", alarm, 0, 0.05, 100)
    for n in (5, 8):
        for title, days in (("same day", 0.0), ("days differ by 5 %", 0.05)):

            def found(rng: Rng, n: int = n, d: float = days) -> float:
                rows = _gate(rng, n, d * rng.normal(), Machine(), np.log(1.1))
                return float(rows[0]["regression"])

            name = f"gate, one cell +10 %, {title}, {n} replicates"
            yield Scenario(name, "found in 80 %", found, 0.8, 1, 100)


def text(rng: Rng, windows: int, document: int, skewed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Deltas of mean 0 and the document of each window; half their variance is the document's."""
    lengths = 1 + rng.poisson(document - 1, windows)
    of = np.repeat(np.arange(windows), lengths)[:windows]

    def draw(size: int) -> np.ndarray:
        return rng.exponential(size=size) - 1 if skewed else rng.normal(size=size)

    return np.sqrt(0.5) * (draw(windows)[of] + draw(windows)), of


def _texts() -> Iterator[Scenario]:
    """The mean over windows of a text whose documents share half of the variance."""
    for windows, document, skewed in (
        *((64, 4, False), (280, 4, False), (64, 12, False), (280, 12, False)),
        *((64, 4, True), (280, 4, True)),
    ):

        def held(
            rng: Rng, by: str, windows: int = windows, document: int = document, sk: bool = skewed
        ) -> float:
            deltas, of = text(rng, windows, document, sk)
            if by == "document":
                found = document_mean(deltas.tolist(), of.tolist(), seed=1, resamples=1000)
            else:
                found = block_bootstrap_mean(deltas.tolist(), seed=1, resamples=1000)
            return float(found.low is not None and found.low <= 0 <= (found.high or 0))

        for by in ("blocks", "document"):
            title = f"{windows} windows, documents of about {document}, by {by}"
            title += ", skewed" * skewed
            known = by == "document"  # else a text that says nothing of its documents
            promised = "interval holds it 95 %" if known else "none: documents unknown"
            low, high = (0.93, 0.97) if known else (0.0, 1.0)
            yield Scenario(title, promised, partial(held, by=by), low, high, 600)


def _stopped() -> Iterator[Scenario]:
    """Studies of identical versions that stop by the width of their intervals, 2 %, or at 40."""
    for rows in (1, 4):
        for sd in (0.016, 0.03):

            def once(rng: Rng, rows: int = rows, sd: float = sd) -> float:
                logs = rng.normal(0, sd, (rows, 40))
                for n in range(FIRST, 41):
                    found = [from_log_ratios(row[:n], MARGIN, 0.95) for row in logs.tolist()]
                    if not decide(n, max(map(half_width_of, found)), 0.02).another:
                        break
                return float(any(v.word in (FASTER, SLOWER) for v in verdicts(found, ALPHA)))

            title = f"stopped by width, identical, {rows} rows, spread {100 * sd:g} %"
            yield Scenario(title, "any false word at most 5 %", once, 0, 0.05, 400)
