"""The regression gate: made studies with known differences, and pairs that must not be compared."""

import json
import random

import pytest

from kvbench.analysis import regression
from kvbench.records.read import MixedRecordsError


def latency(version, ms, T=16, noise=0.004, replicates=6, **more):
    draw = random.Random(f"{version} {ms} {T}")
    processes = [
        {"replicate": r, "runs": [{"time_total_ms": ms * (1 + draw.gauss(0, noise))}]}
        for r in range(replicates)
    ]
    about = {"benchmark_name": "latency_vs_T", "pretrained": "gpt2", "version": version}
    about |= {"batch_size": 1, "T": T, "prompt_length": 16, "device_name": "a machine"}
    about |= {"dtype": "float32", "threads": 1, "weights": "random", "pytorch_version": "2"}
    return about | {"processes": processes} | more


def vram(version, peak, **more):
    about = {"benchmark_name": "vram_vs_T", "peak_memory_bytes": peak}
    return {key: v for key, v in latency(version, 1).items() if key != "processes"} | about | more


def named(name, *records):
    return [(f"{name}, line {n}", record) for n, record in enumerate(records, start=1)]


def words(record):
    return {row["version"]: row["verdict"] for row in record["rows"]}


VERSIONS = ("v0", "v1", "v2", "v3", "v4")


def unchanged(seed, *lengths, slower=1.0):
    """Cells of five versions at lengths of their own, of code that nobody touched."""
    return [latency(v, 100 * slower + seed / 1e6, T) for v in VERSIONS for T in lengths]


def test_the_words_are_those_of_the_differences_put_in():
    before = named("old", *(latency(v, 100) for v in VERSIONS), *unchanged(1, 32, 64))
    now = named(
        "new",
        latency("v0", 80),
        latency("v1", 110),
        latency("v2", 100.2),
        latency("v3", 103, noise=0.2),
        latency("v4", 102.2),
        *unchanged(2, 32, 64),
    )
    record = regression.against(now, before, margin=0.02)
    assert {row["version"]: row["verdict"] for row in record["rows"][:5]} == {
        "v0": "faster",
        "v1": "slower",
        "v2": "equivalent",
        "v3": "inconclusive",
        "v4": "slower",
    }
    # v4 is slower, but not shown to be so by more than the margin.
    assert [row["version"] for row in record["rows"] if row["regression"]] == ["v1"]
    assert record["rows"][4]["speedup"] < 1 / 1.02 < record["rows"][4]["speedup_high"]
    with pytest.raises(regression.RegressionError, match=r"v1 of gpt2 .*T 16\) is .* % slower"):
        regression.check(record)


def test_a_slower_day_is_reported_apart_and_closes_no_gate():
    before = named("old", *unchanged(1, 16, 32, 64))
    now = named("new", *unchanged(2, 16, 32, 64, slower=1.15))
    record = regression.against(now, before, margin=0.05)
    assert record["shift"]["ratio"] == pytest.approx(1.15, rel=0.01)
    assert record["shift"]["low"] < 1.15 < record["shift"]["high"]
    assert not [row for row in record["rows"] if row["regression"]]
    regression.check(record)
    assert any("All 15 timed cells together: 1.1" in line for line in regression.notes(record))
    now[3] = ("new, changed", latency("v1", 100 * 1.15 * 1.12, 16))
    record = regression.against(now, before, margin=0.05)
    assert [row["version"] for row in record["rows"] if row["regression"]] == ["v1"]
    few = regression.against(
        named("new", latency("v1", 150), latency("v2", 100)), before, margin=0.05
    )
    assert few["shift"] is None and few["rows"][0]["verdict"] == "slower"
    regression.check(few)
    assert any("fewer than 3: nothing tells a slower day" in line for line in regression.notes(few))


def test_bytes_are_compared_exactly():
    before = named("old", vram("v1", 1000), vram("v2", 1000), vram("v3", 1000))
    now = named("new", vram("v1", 1000), vram("v2", 1001), vram("v3", 1200))
    record = regression.against(now, before, margin=0.05)
    assert words(record) == {"v1": "equal", "v2": "larger", "v3": "larger"}
    assert [row["regression"] for row in record["rows"]] == [False, False, True]


@pytest.mark.parametrize("key", ["device_name", "dtype", "threads", "weights"])
def test_pairs_that_differ_are_refused_by_name_unless_allowed(key):
    now = named("new", latency("v1", 100), latency("v2", 100, **{key: "another"}))
    before = named("old", latency("v1", 100), latency("v2", 100))
    with pytest.raises(MixedRecordsError, match=rf"differ in {key}: new, line 2 .* old, line 2"):
        regression.against(now, before, margin=0.05)
    record = regression.against(now, before, margin=0.05, allow=[key])
    assert len(record["rows"]) == 2 and f"Allowed to differ: {key}." in regression.notes(record)[-1]


def test_weights_are_distinguished_by_their_digest_where_both_have_one():
    new, old = ({"provenance": {"weights": digest}} for digest in ("aa", "bb"))
    with pytest.raises(MixedRecordsError, match="differ in weights: .* has aa, .* has bb"):
        regression.against(
            named("new", latency("v1", 1, **new)), named("old", latency("v1", 1, **old)), 0
        )
    regression.against(named("new", latency("v1", 1, **new)), named("old", latency("v1", 1)), 0.05)


def test_cells_without_a_counterpart_are_counted_not_compared():
    now = named("new", latency("v1", 100), latency("v1", 200, T=32), latency("v2", 1))
    before = named("old", latency("v1", 100), latency("v2", 1, error="out of memory"))
    record = regression.against(now, before, margin=0.05)
    assert len(record["rows"]) == 1 and record["unmatched"] == 2
    with pytest.raises(ValueError, match="no cell in common"):
        regression.against(now[1:2], before, margin=0.05)


def test_one_process_shows_nothing_and_passes():
    now, before = (named(n, latency("v1", ms, replicates=1)) for n, ms in (("new", 2), ("old", 1)))
    record = regression.against(now, before, margin=0.05)
    assert words(record) == {"v1": "inconclusive"}
    regression.check(record)


def test_a_published_study_is_equivalent_to_itself(tmp_path):
    lines = list(regression.read_lines("published/cpu-amd-epyc-avx2/results.jsonl"))
    path = tmp_path / "again.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for _, record in lines))
    record = regression.against(regression.read_lines(path), lines, margin=0.05)
    assert record["rows"] and record["unmatched"] == 0
    assert {row.get("speedup", row.get("smaller")) for row in record["rows"]} == {1.0}
    regression.check(record)
