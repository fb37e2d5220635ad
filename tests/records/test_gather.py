"""Records are held to their paths, gathered files to their count, baselines to the schema."""

import json

import pytest
from damage import damaged, read_or_refused
from hypothesis import HealthCheck, given, settings

from kvbench.analysis import regression
from kvbench.records import schema
from kvbench.records.gather import check_place, gather, gathered, read_cell
from kvbench.records.store import RecordError, write_lines, write_record

CELL = {"pretrained": "gpt2", "version": "v1", "batch_size": 2}
PLACES = {
    "latency/gpt2/v1/B2/T8.json": {"benchmark_name": "latency_vs_T", "T": 8},
    "samples/latency/gpt2/v1/B2/T8/r3.json": {"T": 8, "replicate": 3},
    "vram/gpt2/v1/B2/T8.json": {"benchmark_name": "vram_vs_T", "T": 8},
    "phase/gpt2/v1/B2/T8.json": {"benchmark_name": "phase", "T": 8},
    "decode/gpt2/v1/B2/D64.json": {"benchmark_name": "decode", "depth": 64},
    "dispatch/gpt2/v1/B2/D64.json": {"benchmark_name": "dispatch", "depth": 64},
    "perplexity/gpt2/v1.json": {"benchmark_name": "perplexity"},
    "capacity/gpt2/v1.json": {"benchmark_name": "capacity"},
    "controls/gpt2/v1-again/B2/T8.json": {"version": "v1-again", "T": 8},
    "peers/gpt2/ct2-int8/B2/T8.json": {"version": "ct2-int8", "benchmark_name": "peers"},
    "executions/gpt2/eager-torch/v1/B2/T8.json": {"mode": "eager-torch", "T": 8},
    "executions/gpt2/step-native/v1/B2/T8.json": {"mode": "step-native", "T": 8},
    "roofline/gpt2/v1_decode/B2/P64.json": {"phase": "decode", "P": 64},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_record_belongs_where_its_cell_is_and_nowhere_else(place):
    record, path = CELL | PLACES[place], f"results/mine/{place}"
    check_place(path, record)
    check_place(f"elsewhere/{path}", record)
    for key in PLACES[place].keys() | {"pretrained"}:
        other = record | {key: 99 if isinstance(record[key], int) else "other"}
        with pytest.raises(RecordError, match=f"holds another cell: its {key} is"):
            check_place(path, other)


def test_a_cell_in_another_s_place_is_refused_wherever_it_is_read(tmp_path):
    path = tmp_path / "results/mine/vram/gpt2/v1/B2/T8.json"
    write_record(path, CELL | {"T": 16})
    for read in (read_cell, lambda p: list(gathered(p)), lambda p: gather([p], tmp_path / "out")):
        with pytest.raises(RecordError, match=r"T8\.json holds another cell: its T is 16"):
            read(path)


@pytest.fixture
def gathered_file(tmp_path):
    paths = []
    for T in (4, 8, 16):
        paths.append(tmp_path / f"results/mine/vram/gpt2/v1/B2/T{T}.json")
        write_record(paths[-1], CELL | {"T": T})
    gather(paths, tmp_path / "vram_gpt2.jsonl")
    return tmp_path / "vram_gpt2.jsonl"


def test_a_gathered_file_with_lines_missing_or_added_is_refused(gathered_file):
    whole = gathered_file.read_text().splitlines(keepends=True)
    assert [record["T"] for _, record in gathered(gathered_file)] == [4, 8, 16]
    for lines in (whole[1:], whole[:2], whole[:-1], [], [*whole, whole[0]], whole[:1] + whole):
        gathered_file.write_text("".join(lines))
        with pytest.raises(RecordError, match=r"vram_gpt2\.jsonl.*delete it and run again"):
            list(gathered(gathered_file))


def test_a_damaged_gathered_file_is_read_or_refused(gathered_file):
    data = gathered_file.read_bytes()

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged(data))
    def check(data):
        gathered_file.write_bytes(data)
        with read_or_refused(gathered_file.parent, RecordError):
            list(gathered(gathered_file))

    check()


PUBLISHED = "published/cpu-amd-epyc-avx2/results.jsonl"
REFERENCE = {  # a line as the project has it that this one grew out of
    **{"benchmark_name": "latency_vs_T", "version": "v0", "pretrained": "gpt2", "T": 32},
    **{"time_total_ms_median": 93.07, "time_total_ms_mean": 92.96, "n_samples": 19},
}


def lines_of(path, n):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line, _ in zip(file, range(n), strict=False)]


@pytest.mark.parametrize(
    "data",
    [
        json.dumps(REFERENCE).encode(),
        b"null\n",
        b'{"half a li',
        '{"benchmark_name": "latency_vs_T"}\n'.encode("utf-16"),
        b"",
        b"[" * 100_000,
    ],
    ids=["the reference project's", "null", "half a line", "UTF-16", "empty", "deep"],
)
def test_a_baseline_that_is_none_is_refused_by_file_and_line(tmp_path, data):
    path = tmp_path / "baseline.jsonl"
    path.write_bytes(data)
    with pytest.raises(schema.SchemaError, match=r"baseline\.jsonl"):
        schema.check_file(path)
    if data:
        with pytest.raises(RecordError, match=r"baseline\.jsonl, line 1"):
            list(regression.read_lines(path))


@pytest.mark.parametrize("change", [{"schema_version": 1}, {"complete": False}, {"complete": None}])
def test_a_baseline_of_another_version_or_incomplete_is_refused(tmp_path, change):
    path = tmp_path / "baseline.jsonl"
    first, second = lines_of(PUBLISHED, 2)
    write_lines(path, [first, second | change])
    with pytest.raises(schema.SchemaError, match=r"baseline\.jsonl, line 2"):
        schema.check_file(path)
    with pytest.raises(RecordError, match=r"baseline\.jsonl, line 2"):
        list(regression.read_lines(path))


def test_a_damaged_baseline_is_read_or_refused(tmp_path):
    path = tmp_path / "baseline.jsonl"
    write_lines(path, lines_of(PUBLISHED, 2))
    data = path.read_bytes()

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged(data))
    def check(data):
        path.write_bytes(data)
        with read_or_refused(path, schema.SchemaError):
            schema.check_file(path)
        with read_or_refused(path, RecordError):
            list(regression.read_lines(path))

    check()
