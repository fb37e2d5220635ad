"""Verdicts, controls and lines over depth, on records with known effects."""

import copy
import math
import random
from itertools import pairwise

import pytest

from kvbench.analysis import attribution, drift, scaling
from kvbench.analysis.rounds import UnpairedError, pairs, rounds, side_by_side
from kvbench.analysis.verdict_notes import notes
from kvbench.analysis.verdicts import ABOVE, judge, judge_controls
from kvbench.bench.meters.clock import CpuClock
from kvbench.bench.meters.delay import Delayed, delaying
from kvbench.costs import forward as costs
from kvbench.plan import cells
from kvbench.plan.config import load_schema, resolve
from kvbench.plan.queue import run_order
from kvbench.records.read import MixedRecordsError, read_cells
from kvbench.records.store import write_record
from kvbench.report.figures import attribution as attribution_figure
from kvbench.report.figures import decode, phase, speedup, style
from kvbench.stats import digits
from kvbench.stats.lines import break_even, fit_line

SHAPE = {"n_layer": 12, "n_head": 12, "n_embd": 768, "block_size": 1024, "vocab_size": 50257}
OWN = list(range(12))
PAIRS = [layer - layer % 2 for layer in OWN]
BYTES_PER_TOKEN = {"v0": 0, "v1": 24 * 768 * 4, "v2": 24 * 12 * 68, "v3": 12 * 768 * 4}


def cell(version, ms, replicates=8, T=16, noise=0.002, **more):
    """A pooled latency record whose processes take about `ms`, on a machine that drifts."""
    draw = random.Random(f"{version} {T}")
    second = 10 * int(version[1])
    processes = [
        {
            "replicate": r,
            "place_in_line": 10 * r + int(version[1]),
            "runs": [{"time_total_ms": ms * (1 + r / 50) * (1 + draw.gauss(0, noise))}],
            "machine_state": {
                "began_at": f"2026-01-05T10:{r:02}:{second:02}+00:00",
                "device_id": "cpu",
            },
        }
        for r in range(1, replicates + 1)
    ]
    about = {"device": "cpu", "device_name": "a machine", "pytorch_version": "2", "threads": 1}
    about |= {"weights": "random", "pretrained": "gpt2", "dtype": "float32", "disturbed": 0}
    about |= {"cache": version, "cross_layer_sharing": False}
    return {
        **about,
        "benchmark_name": "latency_vs_T",
        "version": version,
        "batch_size": 1,
        "T": T,
        "prompt_length": 32,
        "model_config": SHAPE,
        "layer_owner": PAIRS if version == "v3" else OWN,
        "cache_bytes_per_token": BYTES_PER_TOKEN.get(version, BYTES_PER_TOKEN["v1"]),
        "replicates": replicates,
        "processes": processes,
        **more,
    }


def words(record):
    return {row["version"]: row["verdict"] for row in record["rows"]}


def test_words_are_those_of_the_effects_put_in():
    made = [cell("v0", 400), cell("v1", 100), cell("v2", 110), cell("v3", 100.1)]
    made += [cell("v4", 97, noise=0.2)]
    record = judge(made, margin=0.02)
    assert words(record) == {
        "v1": "faster",
        "v2": "slower",
        "v3": "equivalent",
        "v4": "inconclusive",
    }
    for row in record["rows"]:
        assert row["baseline"] == ("v0" if row["version"] == "v1" else "v1")
        assert row["speedup_low"] < row["speedup"] < row["speedup_high"]
        assert row["replicates"] == 8
    assert record["rows"][0]["speedup"] == pytest.approx(4, rel=0.02)
    assert record["rows"][0]["ceiling_from"] == "decode FLOP"  # v0 recomputes: no fewer bytes


def drifting(version, ms, replicates=8, seed=0, **more):
    """A record from a machine whose pace changes by half, felt to 0.8 of it, with a yardstick."""
    draw = random.Random(f"{version} {seed}")
    made = cell(version, ms, replicates, kernel="native", **more)
    for process in made["processes"]:
        slow = draw.uniform(0.7, 1.4)
        pace = [slow * draw.uniform(0.95, 1.05) for _ in range(13)]
        process["yardstick_ms"] = pace
        process["runs"] = [
            {"time_total_ms": ms * (before * after) ** 0.4 * (1 + draw.gauss(0, 0.02))}
            for before, after in pairwise(pace)
        ]
    return made


def test_a_yardstick_shows_what_a_drifting_machine_hides():
    v1, same, slower = drifting("v1", 100), drifting("v3", 100), drifting("v2", 105)
    record = judge([v1, same, slower], margin=0.02)
    assert words(record) == {"v3": "equivalent", "v2": "slower"}
    assert record["rows"][1]["speedup"] == pytest.approx(1 / 1.05, rel=0.01)
    assert any("yardstick" in line for line in notes(record))
    assert all(row["clock_speedup"] not in (None, row["speedup"]) for row in record["rows"])
    other = judge([v1, same, slower | {"kernel": "torch"}], margin=0.02)  # beside other work
    assert words(other) == {"v3": "equivalent", "v2": "implementations differ"}
    assert other["rows"][1]["clock_speedup"] is None


def test_intervals_at_one_pace_cover_what_they_promise():
    covered = 0
    for seed in range(300):
        a, b = drifting("v2", 105, 5, seed), drifting("v1", 100, 5, seed)
        found = drift.compare_cells(a, b, drift.exponents([a, b]))
        covered += found.low < 1.05 < found.high
    assert 0.90 < covered / 300 < 0.985


def test_a_record_above_its_ceiling_is_flagged_by_name():
    record = judge([cell("v1", 100), cell("v2", 60), cell("v3", 99)], margin=0.02)
    flagged, fair = record["rows"]
    assert flagged["flag"] == ABOVE and flagged["share_of_ceiling"] > 1 and fair["flag"] is None
    assert [line for line in notes(record) if line.startswith(f"{ABOVE}: v2 against v1 at batch 1")]
    assert not [line for line in notes(record) if "v3 against v1" in line]


def test_one_replicate_gives_no_interval_and_no_flag():
    row = judge([cell("v1", 100, replicates=1), cell("v2", 10, replicates=1)], 0.02)["rows"][0]
    assert row["verdict"] == "inconclusive" and row["speedup_low"] is None and row["flag"] is None


def test_processes_are_paired_by_replicate():
    v1, v2 = cell("v1", 100, noise=0), cell("v2", 100, noise=0)
    v2["processes"].reverse()
    assert judge([v1, v2], 0.02)["rows"][0]["speedup_low"] == pytest.approx(1)
    del v2["processes"][0]
    assert judge([v1, v2], 0.02)["rows"][0]["replicates"] == 7


def again(made, day, **state):
    """The same record with its processes on another day of the month."""
    processes = [
        p | {"machine_state": p["machine_state"] | {"began_at": began.replace("-05T", f"-{day}T")}}
        for p in made["processes"]
        for began in [p["machine_state"]["began_at"]]
    ]
    for process in processes:
        process["machine_state"] |= state
    return made | {"processes": processes}


def test_a_version_of_another_day_gets_no_word():
    v1, v2, later = cell("v1", 100), cell("v2", 150), again(cell("v3", 150), "06")
    record = judge([v1, v2, later], 0.02)
    assert words(record)["v2"] == "slower"
    said = words(record)["v3"]
    assert said.startswith("not side by side: other rounds ran between them (replicates 1, 2,")
    assert "speedup" not in record["rows"][1]
    with pytest.raises(UnpairedError, match="two devices"):
        rounds(v1, again(cell("v2", 1), "05", device_id="GPU-2"))
    with pytest.raises(UnpairedError, match="started anew"):
        rounds(v1, again(cell("v2", 1), "05", boot_id="another"))
    with pytest.raises(UnpairedError, match="two devices"):
        rounds(v1, cell("v2", 1) | {"device_uuid": "another"})
    with pytest.raises(UnpairedError, match="no time of beginning"):
        rounds(v1, again(cell("v2", 1), "05", began_at=None))


def measured_alone(made, baseline, factor=1.0, key="same code"):
    """A cell of another day that holds processes of its baseline, each right after its own."""
    made, then = again(made, "06"), again(baseline, "06")
    for own, other in zip(made["processes"], then["processes"], strict=True):
        for run in (*own["runs"], *other["runs"]):
            run |= {name: ms * factor for name, ms in run.items() if not isinstance(ms, list)}
        own["partners"] = [{"version": baseline["version"], "key": key, **other}]
        own["partners"][0]["machine_state"]["disturbed"] = False
    return made


def test_a_version_measured_again_is_judged_by_the_baseline_of_its_rounds():
    v1, v2 = cell("v1", 100), cell("v2", 150)
    edited = measured_alone(cell("v3", 100), copy.deepcopy(v1), factor=1.3)
    v1["provenance"] = {"key": "same code"}
    rows = {row["version"]: row for row in judge([v1, v2, edited], 0.02)["rows"]}
    assert rows["v3"]["speedup"] == pytest.approx(1, abs=0.01) and rows["v3"]["replicates"] == 8
    assert rows["v2"]["speedup"] == pytest.approx(1 / 1.5, abs=0.02)  # by v1's own processes
    for a, b in (side_by_side(edited, v1), side_by_side(v1, edited)[::-1]):
        assert a is edited and rounds(a, b).replicates == [1, 2, 3, 4, 5, 6, 7, 8]
    same = side_by_side(v2, v1)
    assert same[0] is v2 and same[1] is v1


def test_a_baseline_partner_of_other_code_counts_for_nothing():
    v1 = cell("v1", 100)
    edited = measured_alone(cell("v3", 100), copy.deepcopy(v1), key="code of before")
    v1["provenance"] = {"key": "same code"}
    assert words(judge([v1, edited], 0.02))["v3"].startswith("not side by side")


def test_a_line_of_a_version_measured_again_is_with_own_baseline_baseline():
    depths = (64, 256, 512)
    v1 = [at_depth("v1", 10 + t / 99, t) for t in depths]
    v2 = [at_depth("v2", 10.5 + t / 200, t) for t in depths]
    plain = scaling.rows([*v1, *v2], None)[1]
    edited = [
        measured_alone(cell, copy.deepcopy(first), 1.5) for cell, first in zip(v2, v1, strict=True)
    ]
    for first in v1:
        first["provenance"] = {"key": "same code"}
    own, found = scaling.rows([*v1, *edited], None)
    assert own["version"] == "v1" and own["replicates"] == 8
    assert found["break_even"] == pytest.approx(plain["break_even"], rel=0.1)
    assert found["slope_us"] == pytest.approx(1.5 * plain["slope_us"], rel=0.1)


def test_rounds_that_were_broken_off_or_swapped_are_left_out_and_named():
    v1, v2 = cell("v1", 100, noise=0), cell("v2", 100, noise=0)
    v2["processes"][3]["machine_state"]["began_at"] = "2026-01-06T10:04:00+00:00"
    v2["processes"][7]["machine_state"]["began_at"] = "2026-01-05T20:08:00+00:00"
    found = rounds(v1, v2)
    assert found.replicates == [1, 2, 3, 5, 6, 7]
    assert "between them (replicate 4)" in found.remark and "10 hours apart" in found.remark
    row = judge([v1, v2], 0.02)["rows"][0]
    assert row["replicates"] == 6 and row["remark"] == found.remark
    swapped = cell("v2", 100)
    for process, replicate in zip(swapped["processes"], (3, 2, 1, 4, 5, 6, 7, 8), strict=True):
        process["replicate"] = replicate
    assert rounds(v1, swapped).replicates == [2, 4, 5, 6, 7, 8]
    for number, process in enumerate(swapped["processes"]):  # beginnings alike, places not
        process["machine_state"]["began_at"] = "2026-01-05T10:00:00+00:00"
        v1["processes"][number]["machine_state"]["began_at"] = "2026-01-05T10:00:00+00:00"
    assert rounds(v1, swapped).replicates == [2, 4, 5, 6, 7, 8]


def test_replicates_that_no_two_versions_share_are_named_and_cost_no_other_row():
    early, late = cell("v1", 100), cell("v2", 100)
    for process in late["processes"]:
        process["replicate"] += 8
    record = judge([early, late, cell("v3", 200)], 0.02)
    assert words(record)["v3"] == "slower"
    assert "no replicate in common (v2 has 9, 10," in words(record)["v2"]


@pytest.mark.parametrize("bad", [math.nan, 0, -1.0, None, math.inf])
def test_a_time_that_is_none_is_named_with_its_cell(bad):
    v1, v2 = drifting("v1", 100), drifting("v2", 100)
    v2["processes"][4]["yardstick_ms"][3] = bad
    with pytest.raises(
        ValueError, match=r"v2 at batch 1, T 16, replicate 5: a reading of the yard"
    ):
        judge([v1, v2], 0.02)
    v1["processes"][0]["runs"][2]["time_total_ms"] = bad
    with pytest.raises(
        ValueError, match=r"v1 at batch 1, T 16, replicate 1: a run took .* ms; all"
    ):
        judge([v1, v2], 0.02)


def test_other_kernels_and_disturbed_processes_are_named_with_the_verdict():
    v1 = cell("v1", 100, kernel="native", execution="eager", disturbed=1)
    v2 = cell("v2", 150, kernel="torch", execution="eager", disturbed=2)
    row = judge([v1, v2], 0.02)["rows"][0]
    assert row["disturbed"] == 3 and row["verdict"] == "implementations differ"
    assert row["remark"].startswith("kernels torch against native: ")


def test_caches_are_compared_where_the_same_kernels_read_them():
    v0 = cell("v0", 300, kernel="native", decode_attention=None)
    v1 = cell("v1", 100, kernel="native", decode_attention="native")
    own = cell("v4", 150, kernel="native", decode_attention="torch")
    rows = {row["version"]: row for row in judge([v0, v1, own], 0.02)["rows"]}
    assert rows["v1"]["verdict"] == "faster" and rows["v1"]["remark"] is None
    assert rows["v4"]["verdict"] == "implementations differ" and rows["v4"]["speedup"] < 1
    assert "decode attention torch against native" in rows["v4"]["remark"]
    assert "--config kernel=torch" in rows["v4"]["remark"]


def test_a_whole_native_step_is_compared_with_recomputing_but_not_with_a_step_of_many_calls():
    how = {"kernel": "native", "linear": "panels"}
    v0 = cell("v0", 300, **how, execution="eager", decode_attention=None, use_cache=False)
    v1 = cell("v1", 100, **how, execution="step", decode_attention="native")
    v2 = cell("v2", 150, **how, execution="eager", decode_attention="native")
    rows = {row["version"]: row for row in judge([v0, v1, v2], 0.02)["rows"]}
    assert rows["v1"]["verdict"] == "faster" and rows["v1"]["remark"] is None
    assert rows["v2"]["verdict"] == "implementations differ"
    assert "execution eager against step" in rows["v2"]["remark"]


def test_the_table_says_what_it_can_see_alone_and_as_a_family_and_what_would_halve_it():
    cells = [cell(v, 100, 3, T) for v in ("v1", "v2", "v3") for T in (8, 16, 32, 64)]
    record = judge(cells, 0.02)
    seen = record["detectable"]
    assert seen["family"]["of"] == 8 and seen["alone"]["of"] == 1
    assert seen["family"]["relative"] > 2.5 * seen["alone"]["relative"]
    assert {row["smallest_detectable"] for row in record["rows"]} == {seen["family"]["relative"]}
    assert seen["replicates_to_halve"] in (4, 5) and seen["minutes_to_halve"] >= 0
    assert "for the only difference among 8 rows" in notes(record)[-1]
    few = judge([cell("v1", 100, 1), cell("v2", 100, 1)], 0.02)
    assert few["detectable"] is None and "unknown" in notes(few)[-1]


def test_an_exponent_without_support_stays_near_none_and_shared_ones_cost_little():
    steadily, noise = drifting("v1", 100), drifting("v2", 100)
    draw = random.Random(0)
    for process in noise["processes"]:
        process["runs"] = [{"time_total_ms": draw.lognormvariate(4, 0.5)} for _ in range(12)]
        process["yardstick_ms"] = [draw.lognormvariate(1, 0.01) for _ in range(13)]
    (alone,) = drift.exponents([noise]).values()
    assert abs(alone.values[0]) < 0.2
    one, other = drifting("v3", 100), steadily
    of = drift.exponents([one, other])
    (found,) = of.values()
    assert found.values == pytest.approx([0.8, 0.8], abs=0.1)
    compared = drift.compare_cells(one, other, of)
    assert 6 < compared.freedom < 7  # of seven


def test_a_version_out_of_memory_keeps_its_row():
    lost = {"version": "v2", "batch_size": 1, "T": 16, "pretrained": "gpt2", "error": "no memory"}
    record = judge([cell("v1", 100), lost], margin=0.02)
    assert words(record) == {"v2": "not compared: v2 no memory"}


def test_records_of_another_device_are_refused(tmp_path):
    paths = [str(tmp_path / name) for name in ("v1.json", "v2.json")]
    write_record(paths[0], cell("v1", 100))
    write_record(paths[1], cell("v2", 100, device_name="another"))
    with pytest.raises(MixedRecordsError, match="device_name"):
        read_cells(paths)


def test_every_version_has_one_baseline():
    assert pairs(["v0", "v1", "v4"]) == [("v1", "v0"), ("v4", "v1")]
    assert pairs(["v0", "v2"]) == [("v2", "v0")] and pairs(["v1"]) == []


def test_controls_say_what_the_machine_can_see():
    made = [cell("v1", 100), cell("v1-again", 100, delay=0.0), cell("v1-plus5", 105, delay=0.05)]
    record = judge_controls(made, margin=0.02)
    assert {row["control"]: row["as_expected"] for row in record["rows"]} == {
        "v1-again": "yes",
        "v1-plus5": "yes",
    }
    alone, family = (record["detectable"][kind] for kind in ("alone", "family"))
    assert alone == family and family["of"] == 1 and 0 < alone["relative"] < 0.01
    pair = [cell(name, 100, replicates=3) for name in ("v1", "v2")]
    assert notes(judge(pair, 0.02, record))[-3:-1] == notes(record)[-3:-1]  # the controls' counts
    assert "v1 against itself: 0 of 1 called different." in notes(record)
    assert "A known delay of 5%: 1 of 1 found." in notes(record)
    longer = [one | {"T": 32} for one in made]
    assert len(judge_controls([*made, *longer], margin=0.02)["rows"]) == 4  # each length on its own
    deaf = judge_controls([made[0], cell("v1-plus5", 101, noise=0.05, delay=0.05)], margin=0.02)
    assert deaf["rows"][0]["as_expected"] == "no" and deaf["detectable"] is None


def test_the_delay_makes_every_step_longer_by_its_share(monkeypatch):
    clock_ns = 0

    def now():
        nonlocal clock_ns
        clock_ns += 1
        return clock_ns

    def pass_by(ns):
        nonlocal clock_ns
        clock_ns += ns

    monkeypatch.setattr("time.perf_counter_ns", now)
    ticks = CpuClock(4)
    mark = Delayed(ticks, 0.05)
    mark()
    for own in (100_000, 40_000, 2_000_000):
        pass_by(own)
        mark()
        ticks.aside(lambda: pass_by(7_000_000))  # a reading of the yardstick, in no step
    assert [ms * 1e6 for ms in ticks.intervals_ms()] == pytest.approx(
        [105_000, 42_000, 2_100_000], abs=4
    )
    assert mark.waited_ns == pytest.approx(0.05 * 2_140_000, abs=6)


def test_no_delay_leaves_the_clock_itself():
    ticks = CpuClock(1)
    assert delaying(0.0, "cuda")(ticks) is ticks
    with pytest.raises(ValueError, match="CUDA"):
        delaying(0.05, "cuda")


def test_a_control_is_v1_but_for_its_name_and_delay():
    config = resolve({"device": "cpu", "controls": {"T": 8}}, load_schema())
    v1 = cells.cell(config, "latency", "gpt2", "v1", batch=1, T=8)
    late = cells.control(config, "gpt2", "v1-plus5", batch=1, T=8)
    assert {key for key, value in late.param().items() if value != v1.param().get(key)} == {
        "version",
        "version_description",
        "delay",
    }
    order = run_order(cells.control_study(config), ["gpt2"])
    assert {key[-1] for key in order} == set(cells.CONTROLS) - {"v1-again2"} and len(order) == 30
    more = config["controls"] | {"again": 2, "T": [4, 8], "batch_size": [1, 2]}
    twenty = run_order(cells.control_study(config | {"controls": more}), ["gpt2"])
    assert len(twenty) == 4 * 4 * 10
    on_cuda = cells.control_study(config | {"device": "cuda"})
    assert on_cuda["versions"] == ["v1", "v1-again"]


def stepping(version, intercept, slope, T=200):
    """A latency record whose steps take intercept + slope x depth ms, after a long prefill."""
    made = cell(version, 1, replicates=4, T=T)
    for process in made["processes"]:
        slowing = 1 + process["replicate"] / 100
        steps = [(intercept + slope * (32 + i)) * slowing for i in range(T)]
        process["runs"] = [{"step_ms": [999.0, *steps[1:]]}]
    return made


def test_lines_over_depth_find_slope_intercept_and_break_even():
    made = [stepping("v1", 10, 0.02), stepping("v2", 12, 0.01), stepping("v3", 12, 0.02)]
    v1, v2, v3 = scaling.rows([stepping("v1", 5, 1, T=20), *made], {"read_gb_s": 10.0})
    assert v1["T"] == 200 and v1["depths"] == "33-231" and v1["break_even"] is None
    assert v1["slope_us_low"] < 20 * 1.025 < v1["slope_us_high"]
    assert v1["intercept_ms"] == pytest.approx(10 * 1.025)
    assert v2["break_even"] == pytest.approx(200) and v2["remark"] is None
    assert v3["break_even"] is None and v3["remark"] == "beyond the context"
    assert v1["modelled_slope_us"] == pytest.approx(BYTES_PER_TOKEN["v1"] / 10e3)
    assert v3["modelled_slope_us"] == pytest.approx(v1["modelled_slope_us"] / 2)
    assert scaling.rows(made, None)[0]["modelled_slope_us"] is None


def at_depth(version, ms, scaling=512, batch=1, noise=0.002, **more):
    """A pooled decode record whose processes take about `ms` a step."""
    made = cell(version, ms, noise=noise, **more)
    for process in made["processes"]:
        for run in process["runs"]:
            run["tpot_ms"] = run.pop("time_total_ms")
    del made["T"]
    about = {"benchmark_name": "decode", "depth": scaling, "prompt_length": scaling, "steps": 8}
    interval = {"low": ms * 0.99, "high": ms * 1.01}
    about |= {"batch_size": batch, "tpot_ms_median": ms, "tpot_ms_interval": interval}
    return made | about | {"execution": "eager", "kernel": "torch"}


def test_decode_cells_are_judged_as_generations_are():
    made = [cell("v1", 100), cell("v2", 110), at_depth("v1", 10), at_depth("v2", 9.8, batch=8)]
    made += [at_depth("v1", 10, batch=8), at_depth("v2", 9)]
    rows = judge(made, margin=0.005)["rows"]
    assert [(row.get("T"), row.get("depth"), row["batch_size"]) for row in rows] == [
        (16, None, 1),
        (None, 512, 1),
        (None, 512, 8),
    ]
    assert [row["verdict"] for row in rows] == ["slower", "faster", "faster"]
    dense, int8 = (costs.forward(SHAPE, OWN, "float32", 1, 512, 1, row) for row in (256, 68))
    assert rows[1]["ceiling"] == pytest.approx(dense.bytes / int8.bytes)
    assert rows[2]["ceiling"] > rows[1]["ceiling"]


def test_a_decode_step_above_its_ceiling_is_flagged_by_name():
    record = judge([at_depth("v1", 10), at_depth("v2", 2)], margin=0.02)
    flagged = [line for line in notes(record) if line.startswith(ABOVE)]
    assert len(flagged) == 1 and "v2 against v1 at batch 1, depth 512" in flagged[0]


def test_no_crossing_is_named_where_the_slopes_may_be_equal():
    depths, starts = [1, 100], [2.5, 1.5, 0.5, -0.5, -1.5]  # faster by 1 ms at the end, whatever
    v1 = fit_line(depths, [[10.0, 20.0]] * 5)
    v2 = fit_line(depths, [[10.0 + start, 19.0] for start in starts])
    crossing = break_even(v2, v1, 100)
    assert crossing.depth is not None  # the lines' means do cross
    found = scaling.with_slopes_apart(v2, v1, crossing)
    assert found.depth is None and found.reason == scaling.SAME_SLOPE
    clear = fit_line(depths, [[11.0 + start / 100, 19.0] for start in starts])
    assert scaling.with_slopes_apart(clear, v1, break_even(clear, v1, 100)).depth == pytest.approx(
        50.5, 0.1
    )


def test_lines_from_decode_cells_find_break_even_in_depth_and_in_batch():
    def ms(version, scaling, batch):
        own, per_row = {"v1": (10, 0.004), "v2": (11, 0.002)}[version]
        return own + per_row * scaling * batch

    made = [
        at_depth(v, ms(v, scaling, batch), scaling, batch, noise=0)
        for v in ("v1", "v2")
        for batch in (1, 4)
        for scaling in (99, 399, 799)
    ]
    by_depth = {(row["batch_size"], row["version"]): row for row in scaling.rows(made, None)}
    assert by_depth[1, "v2"]["break_even"] == pytest.approx(501, rel=0.01)
    assert by_depth[4, "v2"]["break_even"] == pytest.approx(126, rel=0.01)
    assert by_depth[4, "v1"]["depths"] == "100-800" and by_depth[4, "v1"]["from"] == "decode"
    by_batch = {(row["depth"], row["version"]): row for row in scaling.batch_rows(made, None)}
    assert by_batch[399, "v2"]["break_even"] == pytest.approx(500 / 399, rel=0.01)
    assert by_batch[99, "v2"]["break_even"] is None  # beyond the largest batch measured
    assert by_batch[799, "v2"]["remark"] == "extrapolated"  # from batch 0.63, and 1 was the least
    modelled = scaling.batch_rows(made, {"read_gb_s": 10.0})[0]
    assert modelled["modelled_slope_us"] == pytest.approx(101 * BYTES_PER_TOKEN["v1"] / 1e4)


def test_depth_lines_go_by_the_pace_that_verdicts_go_by():
    """v2 is 10 % slower at every depth, on a machine that the clock alone cannot see through."""
    made = []
    for tokens in (64, 128, 256):
        for version, factor in (("v1", 1.0), ("v2", 1.1)):
            one = drifting(version, factor * (10 + 0.01 * tokens), seed=tokens)
            for process in one["processes"]:
                for run in process["runs"]:
                    run["tpot_ms"] = run.pop("time_total_ms")
            del one["T"]
            made.append(one | {"benchmark_name": "decode", "depth": tokens, "execution": "eager"})
    judged = judge(made, 0.02)["rows"]
    assert {row["verdict"] for row in judged} == {"slower"}
    v1, v2 = scaling.rows(made, None)
    assert v2["remark"] in ("never", "beyond the context") and v2["break_even"] is None
    assert v1["slope_us_low"] < 10 < v1["slope_us_high"]
    blind = [{**cell, "kernel": cell["version"]} for cell in made]  # no yardstick in common
    assert scaling.rows(blind, None)[1]["remark"] == "too close to tell"


def test_a_slope_below_its_bytes_is_a_fault_of_measuring_with_what_was_disturbed():
    cells = [
        at_depth("v1", 20 - 0.01 * tokens, tokens, disturbed=2, noise=0.001)
        for tokens in (64, 256, 512)
    ]
    (row,) = scaling.rows(cells, {"read_gb_s": 10.0})
    assert row["flag"] == "error: slope below what its bytes take, 6 of 24 processes disturbed"
    assert scaling.rows(cells, None)[0]["flag"] == row["flag"]  # below nothing at all
    (fair,) = scaling.rows([at_depth("v1", 20 + t / 50, t) for t in (64, 256, 512)], None)
    assert fair["flag"] is None and fair["disturbed"] == 0


def test_a_line_is_of_rounds_that_its_versions_shared():
    made = [at_depth(v, 10 + t / 99, t) for v in ("v1", "v2") for t in (64, 256)]
    moved = [again(c, "06") if c["version"] == "v2" else c for c in made]
    v1, v2 = scaling.rows(moved, None)
    assert v1["replicates"] == 8 and v2["remark"].startswith("not side by side: other rounds")
    made[3]["processes"] = made[3]["processes"][2:]
    assert [row["replicates"] for row in scaling.rows(made, None)] == [6, 6]


def test_the_rest_of_a_step_has_the_interval_of_both_its_measurements():
    roofs = {"read_gb_s": 10.0, "gemm_gflop_s": 1500.0, "benchmark_name": "roofs"}
    draw, covered = random.Random(1), 0
    for _ in range(200):
        cell, tiny = at_depth("v1", 60), at_depth("v1", 2) | {"benchmark_name": "dispatch"}
        for record, centre, spread in ((cell, 60, 1.0), (tiny, 2, 0.3)):
            for process in record["processes"]:
                process["runs"] = [{"tpot_ms": centre + draw.gauss(0, spread)}]
            times = [process["runs"][0]["tpot_ms"] for process in record["processes"]]
            record["tpot_ms_median"] = sum(times) / len(times)
        (row,) = attribution.rows([cell], [tiny], roofs)
        truth = 58 - row["bandwidth_ms"] - row["compute_ms"]
        covered += row["rest_ms_low"] <= truth <= row["rest_ms_high"]
    assert 180 <= covered <= 199
    tiny["processes"] = tiny["processes"][:1]
    (row,) = attribution.rows([cell], [tiny], roofs)
    assert row["rest_ms"] is not None and row["rest_ms_low"] is row["rest_ms_high"] is None
    (row,) = attribution.rows([at_depth("v1", 60)], [tiny], roofs)
    ends = [60 * row["bandwidth_share"] / ms for ms in (60 * 1.01, 60 * 0.99)]
    assert [row["bandwidth_share_low"], row["bandwidth_share_high"]] == pytest.approx(ends)


def test_the_parts_of_a_step_add_up_to_it():
    cells = [at_depth("v0", 90), at_depth("v1", 60), at_depth("v2", 120, batch=32)]
    empty = [at_depth(v, 2) | {"benchmark_name": "dispatch"} for v in ("v0", "v1", "v2")]
    roofs = {"read_gb_s": 10.0, "gemm_gflop_s": 1500.0, "benchmark_name": "roofs"}
    rows = attribution.rows(cells, empty, roofs)
    for row in rows:
        assert sum(row[part] for part in attribution.PARTS) == pytest.approx(row["tpot_ms"])
        assert row["dispatch_ms"] == 2 and row["remark"] is None
    v0, v1, v2 = rows
    cost = costs.forward(SHAPE, OWN, "float32", 1, 512, 1, 256)
    assert v1["bandwidth_ms"] == pytest.approx(cost.bytes / 10e6) and v1["compute_ms"] == 0
    recomputed = costs.forward(SHAPE, OWN, "float32", 1, 0, 513, None)
    assert v0["bandwidth_ms"] + v0["compute_ms"] == pytest.approx(recomputed.flop / 1.5e9)
    assert v2["bandwidth_ms"] > v1["bandwidth_ms"]
    impossible = attribution.rows([at_depth("v1", 5)], empty, roofs)[0]
    assert impossible["rest_ms"] < 0 and "rest below 0" in impossible["remark"]
    assert attribution.rows(cells, [], roofs)[0]["rest_ms"] is None  # dispatch was not measured


def test_the_map_marks_each_square_with_its_word(tmp_path):
    made = [at_depth(v, ms, d) for d in (64, 512) for v, ms in (("v1", 10), ("v2", 7 + d / 100))]
    record = judge(made, margin=0.02)
    style.save(decode.draw([*made, record]), tmp_path / "f.svg")
    drawn = (tmp_path / "f.svg").read_text()
    first, last = record["rows"]
    assert first["flag"] and last["verdict"] == "slower"
    for row, mark in ((first, "!"), (last, "▼")):  # the first is faster than its bytes allow
        value, low, high = digits.ends(*(row[f"speedup{end}"] for end in ("", "_low", "_high")))
        assert f"{value} {mark}" in drawn and f"[{low}, {high}]" in drawn
    assert f"≤ {record['rows'][1]['ceiling']:.2f}" in drawn and "weights: random" in drawn
    roofs = {"read_gb_s": 10.0, "gemm_gflop_s": 2000.0, "benchmark_name": "roofs"}
    style.save(attribution_figure.draw([*made, roofs]), tmp_path / "a.svg")
    assert "batch 1, depth 512" in (tmp_path / "a.svg").read_text()


def test_depths_stop_where_the_window_slides():
    made = stepping("v1", 10, 0.02) | {"model_config": SHAPE | {"block_size": 64}}
    assert scaling.rows([made], None)[0]["depths"] == "33-64"
    assert scaling.rows([stepping("v1", 10, 0.02, T=2)], None) == []  # one depth draws no line


@pytest.mark.parametrize("row_bytes", [None, 256])
def test_a_generation_costs_what_its_steps_cost(row_bytes):
    small = SHAPE | {"block_size": 10}
    parts = costs.generation(small, OWN, "float32", 2, 8, 4, row_bytes)
    recomputed = [(0, 9), (0, 10), (0, 10)]
    steps = recomputed if row_bytes is None else [(8, 1), (9, 1), (0, 10)]  # the window slides
    forwards = [costs.forward(small, OWN, "float32", 2, *step, row_bytes) for step in steps]
    assert parts["decode"].flop == sum(cost.flop for cost in forwards)
    assert parts["decode"].bytes == sum(cost.bytes for cost in forwards)
    assert parts["prefill"] == costs.forward(small, OWN, "float32", 2, 0, 8, row_bytes)


def test_shared_rows_may_be_counted_once():
    twice, once = (
        costs.forward(SHAPE, PAIRS, "float32", 1, 99, 1, 256, reread) for reread in (True, False)
    )
    assert twice.kv_read_bytes == 2 * once.kv_read_bytes and twice.flop == once.flop
    own = [costs.forward(SHAPE, OWN, "float32", 1, 99, 1, 256, reread) for reread in (True, False)]
    assert own[0] == own[1]


def phases(version, ratio):
    spent = dict.fromkeys(style.PHASES, 1.0)
    made = cell(version, 1) | {"version_description": version, "instrumented_ratio": ratio}
    made |= {"time_phase_ms": spent | {"total": 5.0}, "runs": [{"total": 5.0}]}
    return made | {"execution": "eager", "kernel": "torch"}


@pytest.mark.parametrize("ratio,refused", [(1.05, False), (1.2, True)])
def test_phases_are_not_compared_where_looking_cost_one_version_more(tmp_path, ratio, refused):
    made = [phases("v1", 1.0), phases("v2", ratio), phases("v3", 1.02)]
    style.save(phase.draw(made), tmp_path / "f.svg")
    drawn = (tmp_path / "f.svg").read_text()
    assert (f"left out: v2 (v2) {ratio:.2f} times the plain time" in drawn) == refused
    versions = [c["version"] for c in phase.agreeing(made)]
    assert versions == (["v1", "v3"] if refused else ["v1", "v2", "v3"])


def test_most_phases_that_agree_are_drawn_with_v1_among_them():
    made = [phases(f"v{n}", r) for n, r in enumerate((1.2, 1.0, 1.21, 1.22, 1.05))]
    assert [c["version"] for c in phase.agreeing(made)] == ["v1", "v4"]
    assert [c["version"] for c in phase.agreeing(made[2:] + made[:1])] == ["v0", "v2", "v3"]
    assert phase.agreeing([]) == []


def test_the_bars_of_the_figure_are_the_intervals_of_the_table():
    made = [cell(version, ms, noise=0.05) for version, ms in (("v0", 400), ("v1", 100), ("v2", 90))]
    made = [one | {"execution": "eager", "kernel": "torch"} for one in made]
    record = judge(made, margin=0.02)
    panels = speedup.draw([*made, record]).axes
    for axes, row in zip(panels, record["rows"], strict=True):
        bar = axes.containers[0][2][0].get_segments()[0][:, 1]
        assert bar == pytest.approx([row["speedup_low"], row["speedup_high"]])
