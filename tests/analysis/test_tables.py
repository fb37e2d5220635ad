"""Tables as Markdown: no wider than a terminal, and nothing said twice."""

import json
from pathlib import Path

import pytest

from kvbench.analysis import scaling, verdicts
from kvbench.benchmarks import BENCHMARKS, record_name
from kvbench.report import tables
from kvbench.report.markdown import WIDTH, readable

STUDIES = sorted(Path("published").glob("*/**/results.jsonl"))
ROW = {"version": "v1", "speedup": 1.0163, "speedup_low": 0.9642, "speedup_high": 1.0712}


def test_intervals_stand_with_their_value_and_what_never_changes_above():
    rows = [ROW | {"batch_size": 8, "cache_bytes": 36864, "none": None}]
    rows.append(rows[0] | {"version": "v2", "cache_bytes": 4718592, "why": "long " * 9})
    text, notes = readable(rows)
    assert text.splitlines() == [
        "| version | cache_bytes | why |",
        "| ------- | ----------: | --- |",
        "| v1      |     36.9 kB | -   |",
        "| v2      |     4.72 MB | (1) |",
    ]
    assert notes == ["Every row: speedup 1.02 [0.96, 1.07], batch 8.", f"(1) {'long ' * 9}"]


def test_what_has_no_room_is_named():
    rows = [{"version": v} | {f"a_rather_long_column_{n}": n + 0.5 for n in range(9)} for v in "ab"]
    rows[1] |= {f"a_rather_long_column_{n}": 2.0 for n in range(9)}
    text, notes = readable(rows)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert notes == [
        "Further columns are in the CSV: "
        + ", ".join(f"a_rather_long_column_{n}" for n in range(3, 9))
        + "."
    ]


def test_one_wide_row_stands_upright_and_whole():
    text, notes = readable([{"version": "v1"} | {f"a_rather_long_column_{n}": n for n in range(9)}])
    assert len(text.splitlines()) == 12 and notes == []
    assert text.splitlines()[2:4] == [
        "| version                | v1    |",
        "| a_rather_long_column_0 | 0     |",
    ]


@pytest.mark.parametrize("study", STUDIES, ids=str)
def test_every_table_of_a_published_study_fits_a_terminal(study, tmp_path):
    records = [json.loads(line) for line in study.read_text().splitlines()]
    kinds = {}
    for record in records:
        if record["benchmark_name"] != "dispatch" and not record["version"].startswith("v1-"):
            key = (record["benchmark_name"], record["pretrained"])
            kinds.setdefault(key, []).append(record)
    made = []
    for (name, _), cells in kinds.items():
        if name in ("latency_vs_T", "decode"):
            made += [verdicts.table(cells, 0.02), scaling.table(cells, "depth")]
        for benchmark, line in BENCHMARKS.items():
            if line.in_all and record_name(benchmark) == name:
                own = line.tables if line.tables is not None else (benchmark,)
                made += [tables.table(cells, kind) for kind in own]
    assert made
    for table in made:
        tables.publish(table, tmp_path / "t.md", tmp_path / "t.csv")
        written = (tmp_path / "t.md").read_text()
        assert max(map(len, written.splitlines())) <= WIDTH, written
        for note in table.notes:
            assert note.split()[-1] in written
