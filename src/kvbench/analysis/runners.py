"""Other runners, and other ways to run a step, compared process by process."""

from __future__ import annotations

from kvbench.analysis.rounds import UnpairedError, rounds
from kvbench.analysis.table import Table
from kvbench.records.record import Record, Row, by, is_error, measured, times_ms
from kvbench.stats.paired import Interval, compare, interval

BASELINES = {"peers": "v1", "executions": "eager-torch"}
NOTES = {
    "peers": "`speedup` is v1's time over the runner's: above 1, the runner is faster. 95 % "
    "intervals, paired by round. Tokens are compared with those that v1 generates from the same "
    "weights.",
    "executions": "`speedup` is the step's time run eagerly by torch, over this way's. The step is "
    "the forward and the pick of a token, whatever runs it; preparing it once is apart.",
}


def step_ms(run: Record) -> float:
    """A decode step of one run, with the pick of its token: some ways cannot tell the two apart."""
    rest: float = run["device_ms"] - run["ttft_ms"]
    return rest / (len(run["step_ms"]) - 1)


def step_times(cell: Record) -> dict[int, list[float]]:
    """The step's time (ms) in every run, by process."""
    return {p["replicate"]: [step_ms(run) for run in p["runs"]] for p in cell["processes"]}


def step_interval(cell: Record) -> Interval:
    """The step's time with its interval over processes."""
    return interval(list(step_times(cell).values()))


def ways(cell: Record) -> str:
    """How a cell really ran: `graph, triton`."""
    return f"{cell['execution']}, {cell['kernel']}"


def peer_rows(records: list[Record]) -> list[Row]:
    """One row per runner, batch and T: its time, and its speed-up over v1."""
    rows = []
    for (batch, T), cells in by(records, "batch_size", "T").items():
        v1 = next((cell for cell in measured(cells) if cell["version"] == "v1"), None)
        for cell in cells:
            row = {"runner": cell["version"], "batch_size": batch, "T": T}
            ours = "kvbench" if "execution" in cell and "peer_library" not in cell else None
            row["library"] = cell.get("peer_library", ours)
            if is_error(cell):
                rows.append(row | {"error": f"{cell['error']}: {cell.get('error_detail', '')}"})
                continue
            ends = cell["time_total_ms_interval"]
            row |= {"total_ms": cell["time_total_ms_median"], "total_ms_low": ends["low"]}
            row |= {"total_ms_high": ends["high"], "tpot_ms": cell["tpot_ms_median"]}
            row |= {"tokens_per_s": 1e3 * batch * T / cell["time_total_ms_median"]}
            if v1:
                row |= _speedup(times_ms(v1), times_ms(cell), v1, cell)
            row["tokens"] = _tokens(cell)
            rows.append(row)
    return rows


def execution_rows(records: list[Record]) -> list[Row]:
    """One row per version, batch and mode: the step's time, and its gain over eager torch."""
    rows = []
    for (batch, T, version), cells in by(records, "batch_size", "T", "version").items():
        base = next((c for c in measured(cells) if c["mode"] == BASELINES["executions"]), None)
        for cell in cells:
            row = {"version": version, "batch_size": batch, "T": T, "asked": cell["mode"]}
            if is_error(cell):
                rows.append(row | {"error": cell["error"]})
                continue
            found = step_interval(cell)
            row |= {"ran": ways(cell), "step_ms": found.point, "step_ms_low": found.low}
            row |= {"step_ms_high": found.high}
            if base:
                row |= _speedup(step_times(base), step_times(cell), base, cell)
            row |= {key: cell[key] for key in ("compile_s", "capture_s") if key in cell}
            rows.append(row)
    return rows


def table(records: list[Record], kind: str) -> Table:
    """The table of one kind: `peers` or `executions`."""
    rows = {"peers": peer_rows, "executions": execution_rows}[kind](records)
    title = {"peers": "Runners of", "executions": "Ways to run a step of"}[kind]
    return Table(f"{title} {records[0]['pretrained']}", rows, [NOTES[kind]], records)


def _speedup(
    a_ms: dict[int, list[float]], b_ms: dict[int, list[float]], a: Record, b: Record
) -> Row:
    """The speed-up of b over a, of the rounds that both ran in, or why there is none."""
    try:
        shared = rounds(a, b)
    except UnpairedError as reason:
        return {"remark": str(reason)}
    found = compare([a_ms[r] for r in shared.replicates], [b_ms[r] for r in shared.replicates])
    row: Row = {"speedup": found.ratio, "speedup_low": found.low, "speedup_high": found.high}
    return row | ({"remark": shared.remark} if shared.remark else {})


def _tokens(cell: Record) -> str:
    """Whether a runner's tokens are v1's; v0 to v4 are not asked here."""
    if "tokens_equal" not in cell:
        return ""
    if cell["tokens_equal"]:
        return "those of v1"
    return f"differ from token {cell['first_difference'] + 1} on"
