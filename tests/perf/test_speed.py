"""Speed targets: every row's path at a small size, and that a row passes where it was shown to."""

import json
import math
from pathlib import Path
from statistics import median

import pytest
import torch
from fake_gpu import Device

from kvbench.bench import roofs
from kvbench.models.build import build
from kvbench.models.weights import random_tensors, save
from kvbench.peers import PEERS
from perf import here, judge, report, turns
from perf.choice import chosen
from perf.run import main, sample
from perf.targets import AT_MOST, EXACTLY, SHAPE, TARGETS, Target, small

IN_TORCH = [name for name, t in TARGETS.items() if not t.by.startswith(("running.", "others."))]


@pytest.fixture(autouse=True)
def briefly(monkeypatch):
    """Samples as short as can be, for what is measured in this process."""
    monkeypatch.setattr(turns, "LEAST_MS", 0.1)
    monkeypatch.setattr(here, "SECONDS", 0.0)
    monkeypatch.setitem(roofs.BUFFER_BYTES, "cpu", 1 << 20)


def settings(target, library="none"):
    return target.settings | {"library": str(library), "weights": "none.safetensors"}


@pytest.mark.parametrize("name", IN_TORCH)
def test_every_row_is_measured_or_says_why_not(name, library):
    target = small(TARGETS[name])
    found = sample(target, settings(target, library))
    if "reason" in found:
        assert "CUDA" in found["reason"] and not torch.cuda.is_available()
        row = judge.not_measured(name, target, found["reason"], found["machine"])
    else:
        row = judge.judged(name, target, [found, found])
        assert row["measured"] > 0 and row["low"] <= row["measured"] <= row["high"]
    assert set(report.KEYS) <= set(row)
    assert row["machine"]["cpu_name"] and (target.share or row["target"] == target.reach)


def test_attention_is_bound_by_its_codes_and_scales_at_the_bandwidth_of_its_process(library):
    target = small(TARGETS["attention-bf16"])
    found = sample(target, settings(target, library))
    head, rows = SHAPE["n_embd"] // SHAPE["n_head"], 2 * 2 * SHAPE["n_head"] * 24  # K, V; batch 2
    assert found["bytes"] == SHAPE["n_layer"] * rows * (head + 4)
    row, fused = judge.judged("r", target, [found]), found["pairs"]["batch 2, depth 24"]["above"]
    best_ms = found["bytes"] / max(found["machine"]["read_gb_s"]) / 1e6
    assert row["bound"] == pytest.approx(median(fused["wall"]) / best_ms)


def test_caches_weigh_what_the_closed_form_says():
    target = small(TARGETS["cache-bytes"])
    found = sample(target, settings(target))
    assert set(found["exact"].values()) == {1.0} and len(found["exact"]) == 8
    assert judge.judged("cache-bytes", target, [found])["passed"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's, of its own jit
def test_other_runners_are_measured_in_turn_with_v1_where_they_are_installed(library, monkeypatch):
    pytest.importorskip("transformers")
    target = small(TARGETS["transformers-fp32"])
    found = sample(target, settings(target, library))
    assert found["ran"]["first_difference"] is None and found["pairs"][""]["below"]["cpu"]
    monkeypatch.setitem(PEERS["llama.cpp"], "needs", ["no_such_module"])
    absent = small(TARGETS["llama-d32"])
    assert "no_such_module" in sample(absent, settings(absent, library))["reason"]


def test_a_cell_s_own_time_needs_what_the_workflow_makes():
    target = small(TARGETS["cell"])
    assert "is not there" in sample(target, settings(target))["reason"]


def test_a_cell_s_own_time_is_that_of_the_real_script_s_process(library, tmp_path):
    target, path = small(TARGETS["cell"]), tmp_path / "random.safetensors"
    model = build({"arch": "gpt2", **SHAPE}, dtype="float32", device="cpu")
    save(path, dict(random_tensors(model, 1)))
    found = sample(target, settings(target, library) | {"weights": str(path)})
    assert found["values"][0] > 0 and found["ran"]["kernel"] == "native"


def pairs(*ratios, disturbed=(), cpu=1.0):
    """Samples whose wall clock shows these ratios, and whose CPU clock shows `cpu`."""
    return [
        {
            "pairs": {
                "": {"above": {"wall": [r], "cpu": [cpu]}, "below": {"wall": [1.0], "cpu": [1.0]}}
            },
            "disturbed_by": list(disturbed),
            "machine": {},
        }
        for r in ratios
    ]


@pytest.mark.parametrize(
    ("ratios", "word"),
    [
        ((2.3, 2.3, 2.4), "met"),
        ((1.6, 1.6, 1.7), "missed"),
        ((1.8, 2.0, 2.4), "inconclusive"),
        ((2.0, 3.0, 4.0), "inconclusive"),  # its middle is above 2; that was not shown
    ],
)
def test_a_row_passes_where_its_whole_interval_does(ratios, word):
    row = judge.judged("r", Target("", 2.0, "", {}), pairs(*ratios))
    assert row["verdict"] == word and row["passed"] is (word == "met")
    assert row["low"] < row["measured"] < row["high"]


def test_what_a_bound_forbids_is_not_missed():
    samples = pairs(1.6, 1.6, 1.7)
    for sample_ in samples:
        sample_["bounds"] = {"": 1.9}
    row = judge.judged("r", Target("", 2.0, "", {}), samples)
    assert (row["verdict"], row["passed"]) == (judge.FORBIDDEN, False)
    met = judge.judged("r", Target("", 1.2, "", {}), samples)
    assert met["verdict"] == "met"
    slow = [{"values": [value], "machine": {}} for value in (4.0, 4.1, 4.0)]
    for bound, word in ((2.0, "missed"), (3.5, judge.FORBIDDEN)):
        target = Target("", 3.0, "", {}, sense=AT_MOST, bound=bound)
        assert judge.judged("r", target, slow)["verdict"] == word


def test_a_target_may_be_a_share_of_the_row_s_own_bound():
    samples = pairs(1.6, 1.6, 1.7)
    for bound, word in ((1.7, "met"), (2.5, "missed")):
        for sample_ in samples:
            sample_["bounds"] = {"": bound}
        row = judge.judged("r", Target("", None, "", {}, share=0.85), samples)
        assert (row["target"], row["verdict"]) == (0.85 * bound, word)
    assert "at least 2.12 x, 0.85 of the bound" in report.markdown([row])


def test_a_row_is_compared_with_the_last_one_of_its_processor(tmp_path):
    about = {"cpu_name": "A", "cpu_capability": "AVX2", "commit": "c"}

    def row(low, high, **other):
        machine = about | other
        machine = {"device_name": machine["cpu_name"]} | machine
        found = judge.judged("cell", TARGETS["cell"], [{"values": [low], "machine": machine}])
        return found | {"low": low, "high": high, "measured": (low + high) / 2}

    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    report.merge(ours, row(1.0, 2.0, cpu_name="B"))
    report.merge(theirs, row(4.0, 5.0))
    now = row(2.5, 3.0)
    now["before"] = report.before(now, [ours, theirs])
    assert now["before"] == {"measured": 4.5, "low": 4.0, "high": 5.0, "commit": "c"}
    assert report.line(now).endswith("; better than 4.500")  # seconds: less is better
    assert "as before" in report.line(now | {"high": 4.5})
    assert report.before(row(1.0, 2.0, cpu_name="C"), [ours, theirs]) is None
    assert report.before(row(1.0, 2.0, device_name="NVIDIA A"), [ours, theirs]) is None


def test_at_most_is_the_other_side():
    target = Target("", 3.0, "", {}, sense=AT_MOST)
    for values, passed in (((1.0, 1.1, 1.0), True), ((4.0, 4.1, 4.0), False), ((2.0, 4.0), False)):
        samples = [{"values": [value], "machine": {}} for value in values]
        assert judge.judged("r", target, samples)["passed"] is passed


def test_the_worst_point_is_the_row_s():
    samples = pairs(3.0, 3.1, 3.0)
    for sample_, slow in zip(samples, (1.0, 1.1, 1.0), strict=True):
        sample_["pairs"]["deep"] = {"above": {"wall": [slow]}, "below": {"wall": [1.0]}}
        sample_["bounds"] = {"": 4.0, "deep": 1.5}
    row = judge.judged("r", Target("", 2.0, "", {}), samples)
    assert (row["at"], row["bound"], row["verdict"]) == ("deep", 1.5, judge.FORBIDDEN)
    assert row["points"][""]["low"] > 2


def test_a_row_over_another_runner_is_bound_by_our_bytes_at_the_bandwidth_of_its_process():
    samples = pairs(3.0, 3.1, 3.0)  # ms over 1 ms
    for sample_ in samples:
        sample_ |= {"bytes": 5_000_000, "machine": {"read_gb_s": [8.0, 10.0]}}  # 0.5 ms at best
    row = judge.judged("r", Target("", 2.0, "", {}), samples)
    assert row["bound"] == 6.0 and row["samples"][0]["bytes"] == 5_000_000


def test_a_disturbed_row_is_read_by_cpu_time_and_one_process_shows_nothing():
    disturbed = judge.judged("r", Target("", 2.0, "", {}), pairs(1, 9, disturbed=["load"], cpu=3))
    assert disturbed["clock"] == "cpu" and math.isclose(disturbed["measured"], 3)
    assert disturbed["disturbed"] == 2
    alone = judge.judged("r", Target("", 2.0, "", {}), pairs(3))
    assert math.isclose(alone["measured"], 3) and alone["low"] is None and alone["passed"] is None
    exact = judge.judged(
        "r",
        Target("", 1.0, "", {}, sense=EXACTLY),
        [{"exact": {"a": 1.0, "b": 1.1}, "machine": {}}],
    )
    assert exact["at"] == "b" and not exact["passed"]


def test_a_gpu_is_judged_by_its_own_clock_and_never_by_the_host_s():
    target = Target("", 2.0, "", {"device": "cuda"})
    samples = pairs(1, 1, disturbed=["throttled"], cpu=9)  # the host's CPU time shows a ratio of 9
    wall = judge.judged("r", target, samples)
    assert wall["clock"] == "wall" and math.isclose(wall["measured"], 1)
    for one in samples:
        one |= {"bytes": 5_000_000, "machine": {"read_gb_s": [10.0]}}  # 0.5 ms at best
        for side, ms in (("above", 6.0), ("below", 2.0)):
            one["pairs"][""][side]["device"] = [ms]
    own = judge.judged("r", target, samples)
    assert own["clock"] == "device" and math.isclose(own["measured"], 3) and own["bound"] == 12


def test_a_gpu_s_turn_is_timed_by_events_and_a_generation_on_an_idle_device(monkeypatch):
    device = Device(monkeypatch)
    monkeypatch.setattr(turns.time, "process_time_ns", lambda: 0)
    monkeypatch.setattr(turns, "LEAST_MS", 10.0)
    settings = turns.repeated(lambda: device.launch(0.5), "cuda")()
    assert settings["device"] == pytest.approx(0.5, rel=0.01) and settings["cpu"] == 0
    assert settings["wall"] == pytest.approx(0.5, rel=0.01)

    def run(mark):
        mark()
        for ms in (7.0, 1.0, 1.0, 1.0):  # the host is far ahead of the device
            device.launch(ms)
            mark()
            mark()

    assert turns.generated(run, 4, "cuda")()["wall"] == pytest.approx(1.0, rel=0.01)


def test_rows_are_merged_in_the_table_s_order_and_written_whole(tmp_path, capsys):
    path = tmp_path / "bench/speed.json"
    asked = ["--small", "--output", str(path), "--weights", "none.safetensors"]
    assert main([*asked, "gpu-int8", "cell"]) == 0
    first = json.loads(path.read_text())
    assert [row["row"] for row in first] == ["gpu-int8", "cell"]
    assert all(row["measured"] is row["passed"] is None and row["reason"] for row in first)
    assert main([*asked, "cache-bytes"]) == 0
    rows = report.read(path)
    assert rows[0]["row"] == "cache-bytes" and rows[0]["passed"] and rows[1:] == first
    assert "not measured: torch sees no CUDA" in capsys.readouterr().out
    path.write_text("[{}]")
    assert main(["--output", str(path), "cell"]) == 2
    assert "is not a list of rows" in capsys.readouterr().err


def test_the_page_shows_the_published_rows():
    root = Path(__file__).parents[2]
    page = (root / "docs/speed.md").read_text()
    rows = report.read(root / "published/cpu-amd-epyc-avx2/bench/speed.json")
    assert {row["row"] for row in rows} <= set(TARGETS)
    assert report.markdown(rows) in page


def test_rows_are_chosen_by_name():
    assert chosen(TARGETS, [], "row") == list(TARGETS)
    assert chosen(TARGETS, ["plan-1*", "cell"], "row") == [
        "cell",
        "plan-1000",
        "plan-10000",
    ]
    with pytest.raises(ValueError, match="no row 'fast'; rows: transformers-bf16"):
        chosen(TARGETS, ["fast"], "row")
