"""What retrieval says of versions: paired by item, and only where v1 can do it."""

from math import comb

import pytest
from made_scores import retrieval as made

from kvbench.analysis import retrieval
from kvbench.records.check import check_record
from kvbench.records.store import write_lines
from kvbench.report.frames import read_results
from kvbench.report.tables import publish

CELLS = [made("v1"), made("v2"), made("v5", losing=0.4)]


def row(version, task, length):
    every = retrieval.rows(CELLS)
    key = (version, task, length)
    return next(r for r in every if (r["version"], r["task"], r["length"]) == key)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell["version"])
def test_made_cells_are_records(cell):
    assert check_record(cell, "made").benchmark_name == "retrieval"


def test_items_are_paired_and_flips_counted():
    found = row("v5", "needle", 256)
    assert (found["right"], found["right_v1"], found["lost"], found["gained"]) == (12, 20, 8, 0)
    assert found["p"] == pytest.approx(2 * comb(8, 0) / 2**8)
    low, high = found["margin_change_low"], found["margin_change_high"]
    assert low < found["margin_change"] < high
    assert found["margin_change"] == pytest.approx(-0.4 - 8 * 3 / 20)
    same = row("v2", "needle", 256)
    assert (same["lost"], same["gained"], same["p"], same["margin_change"]) == (0, 0, 1.0, 0.0)


def test_what_v1_cannot_do_is_not_judged_and_not_pooled():
    assert retrieval.judged(CELLS[0], 256) == [("needle", 256), ("multikey", 256), ("words", 256)]
    assert not row("v5", "variables", 256)["judged"]
    pooled = row("v5", retrieval.ALL, 256)
    assert pooled["items"] == 60 and pooled["right_v1"] == 20 + 15 + 10
    assert pooled["lost"] == 8 + 6 + 4


def test_the_share_lost_has_an_interval_even_where_nothing_is_lost():
    none, some = (retrieval.lost(cell, CELLS[0]) for cell in CELLS[1:])
    assert none["value"] == none["low"] == 0 and none["of"] == 90
    assert none["high"] == pytest.approx(1 - 0.025 ** (1 / 90))
    assert some["low"] < some["value"] < some["high"]
    assert some["value"] == pytest.approx(45 / 90)
    assert retrieval.lost_when_corrupted(CELLS[2], CELLS[0]) == 1.0
    assert retrieval.floor(CELLS[0]) == (16, 0, 0.0)


def test_nothing_is_judged_where_v1_answers_nothing():
    weak = made("v1", losing=1.0)
    assert retrieval.lost(CELLS[1], weak) is None
    table = retrieval.table([weak, CELLS[1]])
    assert all(row["right, %"] == retrieval.NOT_JUDGED for row in table.shown)
    assert "not judged" in retrieval.sentence(CELLS[1], weak, "int8", "dense")


def test_the_table_says_what_was_lost_and_what_could_have_been_seen(tmp_path):
    lost = {"version": "v6", "error": "out of memory", "batch_size": 1, "pretrained": "smollm2"}
    table = retrieval.table([*CELLS, lost])
    publish(table, tmp_path / "t.md", tmp_path / "t.csv")
    text = (tmp_path / "t.md").read_text()
    assert "20/20" in text and "not judged" in text and "out of memory" in text
    assert any(line.startswith("| v5") and "-18 +0" in line for line in text.splitlines())
    assert "Noise floor" in text and "int4 100 %" in text
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + 3 * (4 * 2 + 2) + 1


def test_a_margin_of_no_number_is_a_wrong_answer_and_no_change():
    broken = made("v5")
    for one in broken["scores"]:
        one |= {"rank": [8] * 20, "margin": [None] * 20}
    found = retrieval.pooled(broken, CELLS[0], retrieval.judged(CELLS[0]))
    assert found["right"] == 0 and found["lost"] == 90 and found["margin_change"] is None
    assert "of no number" in retrieval.sentence(broken, CELLS[0], "int4", "dense")
    assert check_record(broken, "made").benchmark_name == "retrieval"


def test_without_v1_nothing_is_paired_and_the_table_says_so():
    table = retrieval.table(CELLS[1:])
    assert not any(row.get("judged") for row in table.rows)
    assert any("No v1" in note for note in table.notes)


def test_a_library_reads_retrieval_as_a_frame(tmp_path):
    write_lines(tmp_path / "results.jsonl", [cell | {"complete": True} for cell in CELLS])
    frame = read_results(tmp_path / "results.jsonl").retrieval
    assert len(frame) == 3 * (4 * 2 + 2) and len(frame.records) == 3
    here = frame[(frame["cache"] == "int4") & (frame["task"] == retrieval.ALL)]
    assert list(here["lost"]) == [18, 27] and set(frame["model"]) == {"smollm2"}
