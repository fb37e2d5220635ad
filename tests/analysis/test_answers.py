"""What is said of a study is what its records hold, in one sentence a version."""

import json
from pathlib import Path

import pytest

from kvbench.analysis import answers
from kvbench.records.gather import gather
from kvbench.records.store import write_record

PUBLISHED = Path("published/cpu-amd-epyc-avx2/results.jsonl")
NAMES = {"v0": "none", "v1": "dense", "v2": "int8", "v3": "dense-shared"}


@pytest.fixture(scope="module")
def cells():
    return [json.loads(line) for line in PUBLISHED.read_text().splitlines()]


def row(version="v2", word="inconclusive", speedup=1.5, low=1.25, high=1.8, **more):
    place = {"batch_size": 1, "T": 16, "version": version, "baseline": "v1"}
    found = {"speedup": speedup, "speedup_low": low, "speedup_high": high}
    return {**place, "verdict": word, "replicates": 8, "flag": None, **found, **more}


def record(*rows):
    about = {"pretrained": "gpt2", "dtype": "float32", "level": 0.95, "margin": 0.02}
    return {**about, "benchmark_name": "verdicts", "rows": list(rows)}


@pytest.mark.parametrize(
    "found, sentence",
    [
        (row(word="faster"), "int8 is 1.50 [1.25, 1.80] times as fast as dense"),
        (
            row(word="slower", speedup=0.9, low=0.8712, high=0.9345),
            "int8 is slower than dense: 0.90 [0.87, 0.93] times as fast",
        ),
        (
            row(word="equivalent", speedup=1.001, low=0.9944, high=1.0071),
            "int8 is as fast as dense within 2 %: 1.001 [0.994, 1.007] times",
        ),
        (
            row(speedup=1.02, low=0.97, high=1.07),
            "no difference in speed shown between int8 and dense: 1.02 [0.97, 1.07] times as fast",
        ),
        (
            row(speedup=1.23456, low=None, high=None, replicates=1),
            "one process cannot show a difference between int8 and dense: 1.23 as fast",
        ),
        (
            {**row(word="not compared: v2 out of memory"), "speedup": None},
            "int8 against dense: not compared: v2 out of memory",
        ),
        (
            row(word="faster", flag="error: above ceiling", ceiling=1.234),
            "int8 is 1.50 [1.25, 1.80] times as fast as dense; error: above ceiling, 1.23: not to "
            "be believed",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_verdict_is_a_sentence_with_its_interval(found, sentence):
    (said,) = answers.speed(record(found), NAMES)
    assert str(said) == sentence
    assert (said.value, said.low, said.high) == tuple(
        found[key] for key in ("speedup", "speedup_low", "speedup_high")
    )
    assert said.word == (found["verdict"] if said.value else None)


def test_speed_is_of_the_largest_batch_and_length(cells):
    rows = [row(T=8), row(T=16), row(batch_size=4, T=8, speedup=3.0, low=2.0, high=4.0)]
    timed = answers.of_preset(cells, "gpt2", "latency_vs_T")
    section = answers.speed_section(record(*rows), timed, "T")
    assert [said.value for said in section.answers] == [3.0]
    assert section.title == "speed of gpt2: batch 4, T 8, float32, 8 processes each"


def test_a_faster_version_says_where_else_it_is_faster(cells):
    def step(batch, depth, word="faster"):
        return row(word=word, batch_size=batch, depth=depth, T=None)

    timed = answers.of_preset(cells, "gpt2", "latency_vs_T")
    rows = [step(1, 128, "inconclusive"), step(1, 1000), step(8, 128), step(8, 1000)]
    (said,) = answers.speed_section(record(*rows), timed, "depth").answers
    assert str(said).endswith("; faster also at batch 1, depth 1000; batch 8, depth 128")
    (said,) = answers.speed_section(record(rows[0], rows[3]), timed, "depth").answers
    assert str(said).endswith("; not shown at batch 1, depth 128")
    assert answers.speed_section(record(*rows), timed, "T") is None


def test_memory_is_what_the_caches_reserve(cells):
    memory = next(s for s in answers.sections([], cells) if s.question == "memory")
    kept = {
        c["version"]: c["cache_reserved_bytes"]
        for c in answers.of_preset(cells, "gpt2", "vram_vs_T")
        if c["T"] == 16
    }
    said = {answer.name: answer for answer in memory.answers}
    assert said["int8"].value == kept["v1"] / kept["v2"] > 3
    assert str(said["int8"]).startswith("int8 keeps 1.25 MB of cache, dense 4.72 MB: 3.76 times sm")
    assert str(said["dense"]).startswith("dense keeps 4.72 MB of cache, none nothing; peak 503 MB")
    assert said["dense-shared"].value == 2


def test_memory_that_ran_out_is_said(cells):
    here = [c for c in answers.of_preset(cells, "gpt2", "vram_vs_T") if c["T"] == 16]
    failed = [c | {"error": "out of memory"} if c["version"] == "v2" else c for c in here]
    said = {a.version: a for a in answers.memory_section(failed).answers}
    assert (str(said["v2"]), said["v2"].word) == ("int8 against dense: int8 out of memory", None)


def test_quality_is_the_ratio_of_perplexities_against_the_plain_cache(cells):
    found = [s for s in answers.sections([], cells) if s.question == "quality"]
    assert [s.preset for s in found] == ["nano", "smollm2"]
    said = {answer.name: answer for answer in found[1].answers}
    assert said.keys() == {"int8", "dense-shared", "int8-shared"}
    assert said["int8"].word == "not shown" and "no change of perplexity" in str(said["int8"])
    assert said["dense-shared"].word == "higher" and "multiplies" in str(said["dense-shared"])
    for answer in said.values():
        ratio = answer.row["paired"]["perplexity_ratio"]
        assert (answer.value, answer.low, answer.high) == tuple(ratio.values())


@pytest.mark.parametrize(
    "low, high, words",
    [(1.0, 1.0, "to the last bit"), (None, None, "too little text"), (1.001, 1.2, "changes the")],
)
def test_a_change_of_quality_is_said_as_its_interval_allows(cells, low, high, words):
    (cell,) = (c for c in answers.of_preset(cells, "nano", "perplexity") if c["version"] == "v2")
    ratio = {"ratio": 1.0 if low == high == 1 else 1.1, "low": low, "high": high}
    cell = cell | {"paired": cell["paired"] | {"perplexity_ratio": ratio}}
    section = answers.quality_section([cell, cell | {"version": "v1"}])
    assert words in str(section.answers[0])


def test_a_folder_of_results_answers_from_its_verdicts_and_cells(cells, tmp_path):
    folder = tmp_path / "results/mine"
    for version in ("v1", "v2"):
        (cell,) = (
            c
            for c in answers.of_preset(cells, "gpt2", "vram_vs_T")
            if (c["version"], c["T"]) == (version, 16)
        )
        write_record(folder / f"vram/gpt2/{version}/B1/T16.json", cell)
    gather(sorted(folder.glob("vram/**/*.json")), folder / "cells/vram_gpt2.jsonl")
    write_record(folder / "verdicts/gpt2.json", record(row()))
    found = answers.of_study(folder)
    assert [section.question for section in found] == ["speed", "memory"]
    lines = answers.text(found).splitlines()
    assert lines[0].startswith("speed of gpt2") and lines[1].startswith("  no difference in speed")
    assert all(len(line) <= 120 for line in lines)


def test_memory_that_was_not_weighed_is_the_closed_form(cells):
    timed = answers.of_preset(cells, "gpt2", "latency_vs_T")
    (memory,) = (s for s in answers.sections([], timed) if s.question == "memory")
    said = {answer.name: answer for answer in memory.answers}
    assert "by the closed form" in memory.about
    by_hand = 31 * 24 * 12 * 64 * 4  # tokens, K and V of 12 layers, heads, channels, float32
    assert f"dense keeps {by_hand / 1e6:.2f} MB of cache, none nothing" == str(said["dense"])
    assert said["int8"].value == pytest.approx(256 / 68)
    assert not [s for s in answers.sections([], timed, closed_form=False)]
