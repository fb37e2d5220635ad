"""Studies of many cells: figures that can be read, tables of a few rows, memory that stays."""

import csv
import json
import re
import tracemalloc
from importlib import import_module
from itertools import chain

import made
import pytest
from matplotlib import pyplot as plt

from kvbench.analysis import regression, verdicts
from kvbench.records.gather import gather, gathered
from kvbench.records.read import each_cell, read_cells
from kvbench.records.store import RecordError, read_record, write_lines, write_record
from kvbench.report import tables
from kvbench.report.selection import doublings, evenly_spaced

BATCHES = [1, 2, 3, 4, 6, 8]
LENGTHS = list(range(2, 62, 3))
VERSIONS = ["v0", "v1", "v2"]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The gathered cells of each benchmark of one large study."""
    folder, files = tmp_path_factory.mktemp("large"), {}
    config = made.config(versions=VERSIONS, batch_size=BATCHES, replicates=2, num_measure_runs=1)
    lengths = {"latency": LENGTHS, "vram": LENGTHS, "phase": [8], "decode": LENGTHS}
    for kind in lengths:
        files[kind] = folder / f"{kind}.jsonl"
        gather(made.study(folder, config, kind, lengths[kind]), files[kind])
    for kind in ("latency", "decode"):
        judged = verdicts.judge(read_cells([files[kind]]), margin=0.02)
        write_record(folder / f"{kind}.json", judged)
        files[f"{kind} verdicts"] = folder / f"{kind}.json"
    return files


FIGURES = {
    "latency": ["latency"],
    "speedup": ["latency", "latency verdicts"],
    "vram": ["vram"],
    "phase": ["phase"],
    "decode": ["decode", "decode verdicts"],
    "tradeoff": ["latency"],
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_many_places_is_a_page_and_not_a_scroll(cells, name):
    draw = import_module(f"kvbench.report.figures.{name}").draw
    figure = draw(read_cells([cells[kind] for kind in FIGURES[name]]))
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    assert height < 1.1 * width, "a row to each batch would be half as wide and twice as high"
    over_T = [axes for axes in figure.axes if axes.get_xlabel().startswith("T, tokens generated")]
    assert over_T or name not in ("latency", "speedup", "vram")
    for axes in over_T:
        assert [t.get_text() for t in axes.get_xticklabels()] == ["2", "5", "8", "17", "32"]
    plt.close(figure)


def test_every_batch_has_its_panels(cells):
    figure = import_module("kvbench.report.figures.latency").draw(read_cells([cells["latency"]]))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    wanted = [f"batch {batch}: {of}" for batch in BATCHES for of in ("whole", "a token")]
    assert sorted(titles) == sorted(wanted)
    plt.close(figure)


def rows_shown(cells, folder):
    """How many rows the Markdown table of latency has."""
    table = tables.table(read_cells([cells["latency"]]), "latency")
    tables.publish(table, folder / "t.md", folder / "t.csv")
    return len(re.findall(r"^\| v\d", (folder / "t.md").read_text(), re.M))


def test_a_large_table_shows_a_few_rows_and_its_csv_has_all(cells, tmp_path):
    shown = rows_shown(cells, tmp_path)
    with open(tmp_path / "t.csv") as file:
        rows = list(csv.DictReader(file))
    every = len(VERSIONS) * len(BATCHES) * len(LENGTHS)
    assert len(rows) == every == 360 and shown == every, "as many as can be read are shown"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "MOST", 100)
        shown = rows_shown(cells, tmp_path)
    text = (tmp_path / "t.md").read_text()
    assert shown == len(VERSIONS) * 4 * 8
    assert f"{shown} of {every} rows, those of batch_size 1, 3, 4, 8; T 2, " in text


def test_a_few_of_many_hold_both_ends():
    assert evenly_spaced([3, 1, 2], 4) == [1, 2, 3]
    assert evenly_spaced(range(1, 101), 4) == [1, 34, 67, 100]
    assert doublings(range(2, 201, 2)) == [2, 4, 8, 16, 32, 64, 128]
    assert doublings([5, 7, 30]) == [5, 7]


def test_gathered_cells_are_the_cells_and_name_their_files(cells, tmp_path):
    paths = [tmp_path / f"T{T}.json" for T in (1, 2)]
    for T, path in enumerate(paths, start=1):
        write_record(path, {"T": T})
    gather(paths, tmp_path / "all.jsonl")
    assert list(gathered(tmp_path / "all.jsonl")) == [(str(p), read_record(p)) for p in paths]
    assert list(gathered(paths[0])) == [(str(paths[0]), read_record(paths[0]))]
    paths[1].write_text('{"T": 2')
    with pytest.raises(RecordError, match=r"T2\.json is not a whole record"):
        gather(paths, tmp_path / "all.jsonl")
    assert len(list(gathered(tmp_path / "all.jsonl"))) == 2, "what was gathered stays"


def peak(act):
    """The most bytes that were held at once."""
    tracemalloc.start()
    act()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_collecting_and_comparing_hold_one_record_at_a_time(tmp_path):
    """Ten times the lines, the same memory; what a baseline keeps is little of its records."""
    config = made.config(replicates=1, num_measure_runs=1)
    record = made.latency(config, "v1", 1, 400) | {"complete": True, "schema_version": 2}
    size = len(json.dumps(record))

    def lines(n):
        return ({**record, "T": T} for T in range(1, n + 1))

    few, many = tmp_path / "few.jsonl", tmp_path / "many.jsonl"
    write_lines(few, lines(20))
    at_first = peak(lambda: write_lines(few, lines(20)))
    assert peak(lambda: write_lines(many, lines(200))) < 1.2 * at_first
    for path, n in ((few, 20), (many, 200)):
        write_lines(path, chain(lines(n), [{"lines": n}]))  # as gathered
    at_first = peak(lambda: sum(1 for _ in each_cell([few])))
    assert peak(lambda: sum(1 for _ in each_cell([many]))) < 1.2 * at_first
    write_lines(many, lines(200))
    held = peak(
        lambda: regression.against(
            regression.read_lines(many), regression.read_lines(many), margin=0.05
        )
    )
    assert held < 0.5 * 200 * size
