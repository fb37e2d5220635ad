"""Roofline points that were timed in several processes: their interval, and what is made of it."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from matplotlib.text import Text

from kvbench.analysis import roofline_table
from kvbench.analysis.findings import kernel_times, over_runs, roof_share, time_change
from kvbench.analysis.pool import pool
from kvbench.analysis.roofline import point
from kvbench.plan import targets
from kvbench.plan.cells import study_of
from kvbench.plan.config import load_schema, resolve
from kvbench.plan.estimate import cells_of
from kvbench.records.check import SchemaError, check_record
from kvbench.report import tables
from kvbench.report.figures import roofline

PUBLISHED = Path(__file__).parents[2] / "published/cpu-amd-epyc-avx2/results.jsonl"
OLD = {
    (record["version"], record["phase"]): record
    for record in map(json.loads, PUBLISHED.read_text().splitlines())
    if record["benchmark_name"] == "roofline"
}
ROOFS = {"benchmark_name": "roofs", "read_gb_s": 20.0, "gemm_gflop_s": 200.0, "dtype": "float32"}
ROOFS |= {key: OLD["v1", "decode"][key] for key in ("device_name", "threads", "pytorch_version")}


def sample(version, replicate, ms, phase="decode", day=1):
    """One process whose runs lie within a thousandth of `ms`."""
    runs = [{"device_ms": ms * near, "wall_ms": 1.1 * ms * near} for near in (0.999, 1, 1.001)]
    place = 10 * replicate + int(version[1:])
    began = f"2026-01-{day:02}T{replicate:02}:{int(version[1:]):02}:00+00:00"
    state = OLD[version, phase]["machine_state"] | {"began_at": began, "disturbed": False}
    about = {"runs": runs, "replicate": replicate, "place_in_line": place, "machine_state": state}
    return OLD[version, phase] | about | {"time_ms_median": ms}


def timed(version, *ms, **how):
    """The pooled cell of processes that took so long."""
    return pool([sample(version, r, one, **how) for r, one in enumerate(ms, 1)])


def test_the_interval_is_between_processes_and_not_within_one():
    cell = timed("v1", 40.0, 44.0, 42.0)
    between = kernel_times(cell)
    assert asdict(between) == cell["time_ms_interval"] and between.replicates == 3
    assert cell["time_ms_median"] == 42.0 and cell["wall_ms_median"] == pytest.approx(46.2)
    runs = [run["device_ms"] for process in cell["processes"] for run in process["runs"]]
    within = over_runs(runs)
    assert between.low < within.low < within.high < between.high
    assert point(cell, ROOFS).wall_ms == cell["wall_ms_median"] and "runs" not in cell


def test_a_record_of_processes_has_the_type_of_one_and_needs_its_times():
    cell = timed("v1", 40.0, 44.0)
    assert check_record(cell, "one").replicates == 2
    for lacking in ("device_ms", "wall_ms"):
        broken = json.loads(json.dumps(cell))
        del broken["processes"][1]["runs"][2][lacking]
        with pytest.raises(SchemaError, match=f"one, processes: a run has no '{lacking}'"):
            check_record(broken, "one")


def test_bytes_counted_beside_the_runs_are_the_median_over_processes():
    samples = [sample("v1", r, 40.0) | {"dram_bytes_measured": 10 * r} for r in (1, 2, 4)]
    assert pool(samples)["dram_bytes_measured"] == 20


def test_a_change_of_time_is_of_the_rounds_that_both_ran_in():
    before, after = timed("v1", 40.0, 60.0, 50.0), timed("v2", 32.0, 48.0, 40.0)
    ends = kernel_times(before), kernel_times(after)
    assert ends[0].low < ends[1].high  # apart only in their rounds
    assert time_change(before, after) == pytest.approx(0.8)
    assert time_change(before, timed("v2", 42.0, 55.0, 52.0)) is None
    assert time_change(before, timed("v2", 32.0, 48.0, 40.0, day=2)) is None
    assert time_change(timed("v1", 40.0), timed("v2", 32.0)) == pytest.approx(0.8)  # one sample


def test_a_point_is_above_its_roof_where_all_of_its_interval_is():
    at = point(timed("v1", 40.0, 40.0), ROOFS)
    roofs = ROOFS | {"read_gb_s": at.gb_s / 1.2, "gemm_gflop_s": 1e5}  # 20 % above it
    steady, loose = timed("v1", 40.0, 40.1, 40.0), timed("v1", 40.0, 50.0, 36.0)
    assert point(steady, roofs).impossible and not point(loose, roofs).impossible
    assert roofline_table.row(steady | {"roofs": roofs})["error"] == "above its roof"
    assert "error" not in roofline_table.row(loose | {"roofs": roofs})


def test_figure_and_table_say_what_their_intervals_are_over():
    cells = [
        timed(version, *(ms * near for near in (0.99, 1, 1.02)), phase=phase)
        for version, ms in (("v1", 40.0), ("v2", 30.0))
        for phase in ("prefill", "decode")
    ]
    said = [text.get_text() for text in roofline.draw([*cells, ROOFS]).findobj(Text)]
    assert any("bars: 95 % intervals over processes" in text for text in said)
    assert not any("one process" in text for text in said)
    share = roof_share(cells[1], ROOFS)
    assert "[" in share and any(share in text for text in said)
    table = tables.table([*cells, ROOFS], "roofline")
    row, found = table.rows[1], kernel_times(cells[1])
    assert (row["time_ms_low"], row["time_ms_high"]) == (found.low, found.high)
    assert row["roof_percent_low"] == pytest.approx(
        row["roof_percent"] * row["time_ms"] / found.high
    )
    assert row["replicates"] == 3 and "over processes" in table.notes[0]
    assert list(table.shown[1])[:6] == [
        *("version", "batch_size", "phase", "P", "time_ms", "roof_percent"),
    ]


def test_what_one_process_timed_is_drawn_with_words_that_say_so():
    old = [OLD[version, "decode"] for version in ("v1", "v2")]
    said = [text.get_text() for text in roofline.draw([*old, ROOFS]).findobj(Text)]
    assert any("intervals over the runs of one process" in text for text in said)
    alone = [timed(version, 40.0) for version in ("v1", "v2")]
    said = [text.get_text() for text in roofline.draw([*alone, ROOFS]).findobj(Text)]
    assert any("no bar: one sample, no interval (2)" in text for text in said)
    for cells in (old, alone):
        assert "no share has an interval" in tables.table([*cells, ROOFS], "roofline").notes[0]


def test_processes_are_of_points_that_are_timed(tmp_path):
    def study(**asked):
        given = {"versions": ["v1"], "benchmarks": ["roofline"], "device": "cpu"}
        return resolve(given | {"roofline": {"P": 8, **asked}}, load_schema(), name="made")

    one = "results/made/roofline/gpt2/v1_decode/B1/P8.json"
    assert len(cells_of(study())) == 2 * 3 and one not in cells_of(study())
    config = study(replicates=5)
    assert study_of(config, "roofline")["replicates"] == 5 and config["replicates"] == 3
    assert one.replace("roofline", "samples/roofline").replace(".json", "/r5.json") in cells_of(
        config
    )
    assert one in cells_of(study(replicates=1))
    (tmp_path / "roofs.json").write_text(json.dumps(ROOFS | {"copy_gb_s": 1.0}))
    for phase in ("prefill", "decode"):
        (tmp_path / f"gpt2_v1_{phase}_B1_P8.csv").touch()
    counted = study(source="csv", csv_dir=str(tmp_path), replicates=5)
    assert not targets.sampled(counted, "roofline") and one in cells_of(counted)
