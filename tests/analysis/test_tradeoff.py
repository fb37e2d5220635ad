"""Bytes, time and quality side by side: what no other version beats stands first."""

import copy
import json
from pathlib import Path

import pytest

from kvbench.analysis import gates, tradeoff
from kvbench.analysis.answers import of_records
from kvbench.analysis.quality_answers import choice_section
from kvbench.analysis.tradeoff import Value
from kvbench.records.read import read_cells
from kvbench.records.store import write_record
from kvbench.report.figures import style
from kvbench.report.figures import tradeoff as figure
from kvbench.report.tables import publish

FOLDER = Path("published/cpu-amd-epyc-avx2")
RECORDS = [json.loads(line) for line in (FOLDER / "results.jsonl").read_text().splitlines()]


def cells(benchmark, preset, name="made"):
    """Published cells of one preset, called another, so that two presets' stand for one's."""
    own = (r for r in RECORDS if (r["benchmark_name"], r["pretrained"]) == (benchmark, preset))
    return [copy.deepcopy(record) | {"pretrained": name, "weights": "gguf"} for record in own]


@pytest.fixture
def both():
    scored = cells("perplexity", "smollm2")
    return [*cells("latency_vs_T", "gpt2"), *scored, gates.judge(scored, gates.DEFAULTS)]


def point(**axes):
    return {name: Value(*ends) for name, ends in axes.items()}


def test_a_difference_within_an_interval_beats_nobody():
    points = {
        "a": point(time=(1.0, 0.9, 1.1), quality=(5.0, 4.0, 6.0)),
        "b": point(time=(1.05, 0.95, 1.2), quality=(0.0, -1.0, 1.0)),
        "c": point(time=(3.0, 2.9, 3.1), quality=(0.5, -1.0, 2.0)),
        "d": point(time=(0.1, 0.1, 0.1)),
    }
    assert tradeoff.front(points, ["time", "quality"]) == ["b"]  # a is not faster beyond doubt
    assert tradeoff.front(points, ["time"]) == ["d"]
    points["a"]["time"] = Value(0.5, 0.4, 0.6)
    assert tradeoff.front(points, ["time", "quality"]) == ["a", "b"]


def test_time_is_of_decode_steps_at_depth_where_they_were_measured(both):
    found = tradeoff.joined(both)
    assert not found.stepped and found.place.startswith("batch 1, T ")
    points = tradeoff.values(found)
    cell = next(c for c in found.timed if c["version"] == "v2")
    assert points["v2"]["time"].at == cell["time_per_token_ms_median"]
    first = points["v2"]["prefill"]
    assert first.low < first.at < first.high
    assert first.at == pytest.approx(cell["ttft_ms_median"], rel=0.05)
    lines = (FOLDER / "depth_batch/results.jsonl").read_text().splitlines()
    steps = [r for r in map(json.loads, lines) if r["benchmark_name"] == "decode"]
    found = tradeoff.joined([*both, *steps])
    assert found.place == "batch 32, depth 224"
    cell = next(c for c in found.stepped if c["version"] == "v2")
    assert tradeoff.values(found)["v2"]["time"].at == cell["tpot_ms_median"]


def test_the_unbeaten_stand_first_with_their_gates(both, tmp_path):
    made = tradeoff.table(both)
    record = made.record
    json.dumps(record, allow_nan=False)
    assert record["axes"] == ["bytes", "prefill", "time", "quality"]
    unbeaten = [bool(row["unbeaten"]) for row in record["rows"]]
    assert unbeaten == sorted(unbeaten, reverse=True)
    first = record["rows"][0]
    assert first["version"] == "v2" and first["gate"] == "PASS"
    assert {r["version"]: r["gate"] for r in record["rows"]}["v4"] == "FAIL by perplexity ratio"
    publish(made, tmp_path / "t.md", tmp_path / "t.csv")
    text = (tmp_path / "t.md").read_text()
    assert "PASS" in text and "x 2," in text and "stand first" in text
    section = choice_section(record)
    assert str(section.answers[0]).startswith("nothing beats int8: 12.2 kB a token")
    assert str(section.answers[0]).endswith("perplexity, PASS")
    style.save(figure.draw(both), tmp_path / "t.svg")
    assert "FAIL by perplexity ratio" in (tmp_path / "t.svg").read_text()


def test_its_record_is_read_with_the_cells_it_was_made_of(both, tmp_path):
    write_record(tmp_path / "gates.json", both[-1])
    write_record(tmp_path / "tradeoff.json", tradeoff.judge(both))
    scored = [record for record in both if record["benchmark_name"] == "perplexity"]
    for record in scored:
        write_record(tmp_path / f"{record['version']}.json", record)
    names = [f"{record['version']}.json" for record in scored] + ["gates.json", "tradeoff.json"]
    read = read_cells([str(tmp_path / name) for name in names])
    assert [record["benchmark_name"] for record in read[-2:]] == ["gates", "tradeoff"]


def test_what_all_beat_stands_last_and_is_named(both):
    worse = [copy.deepcopy(record) for record in both if record.get("version") == "v2"]
    for record in worse:
        record |= {"version": "v5", "cache_bytes_per_token": 10**6}
    record = tradeoff.judge([*both, *worse])
    assert record["rows"][-1]["version"] == "v5" and record["rows"][-1]["unbeaten"] is False
    assert "beaten: " in choice_section(record).about


def test_a_study_of_one_kind_says_what_it_lacks():
    record = tradeoff.judge(cells("perplexity", "smollm2"))
    assert record["axes"] == ["bytes", "quality"] and record["place"] == ""
    assert "Not measured of this preset: prefill, time." in tradeoff.notes(record)


def test_records_alone_answer_the_choice_where_both_were_measured(both):
    asked = [record for record in both if record["benchmark_name"] != "gates"]
    questions = [section.question for section in of_records(asked, 0.02)]
    assert questions[0] == "choice" and {"speed", "quality"} <= set(questions)
    assert "choice" not in {s.question for s in of_records(RECORDS, 0.02)}


def test_a_version_that_ran_otherwise_than_v1_is_named(both):
    assert not any("Ran otherwise" in note for note in tradeoff.table(both).notes)
    changed = copy.deepcopy(both)
    for cell in changed:
        if cell.get("version") == "v2" and cell["benchmark_name"] == "latency_vs_T":
            cell["kernel"] = "another"
    made = tradeoff.table(changed)
    (said,) = [note for note in made.notes if "Ran otherwise" in note]
    assert said.endswith("not of the cache: int8.")
    answers = {a.version: str(a) for a in choice_section(made.record).answers}
    unlike = [v for v, text in answers.items() if "of another implementation" in text]
    assert unlike == ["v2"]
