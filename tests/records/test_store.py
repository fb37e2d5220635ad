"""A record is on disk whole or not at all, and only whole records are read."""

import json
import os

import pytest

from kvbench.records.store import (
    RecordError,
    read_record,
    replacing,
    write_lines,
    write_record,
)


def test_what_is_written_is_read_back(tmp_path):
    write_record(tmp_path / "a/b.json", {"T": 4, "version": "v1"})
    record = read_record(tmp_path / "a/b.json")
    assert (record["T"], record["version"], record["complete"]) == (4, "v1", True)


@pytest.mark.parametrize("size", [0, 1, 20, -3])
def test_a_truncated_record_is_refused_with_the_cure(tmp_path, size):
    path = tmp_path / "cell.json"
    write_record(path, {"T": 4, "samples": list(range(50))})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RecordError, match=r"cell\.json.*run again"):
        read_record(path)


def test_a_foreign_or_older_file_is_refused(tmp_path):
    path = tmp_path / "cell.json"
    for text in ("[]", "{}", json.dumps({"complete": True, "schema_version": 0})):
        path.write_text(text)
        with pytest.raises(RecordError):
            read_record(path)


def test_a_failure_leaves_neither_file_nor_litter(tmp_path):
    path = tmp_path / "cell.json"
    with pytest.raises(ValueError):
        write_record(path, {"x": float("nan")})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_an_existing_result_survives_a_failed_rewrite(tmp_path):
    path = tmp_path / "cell.json"
    write_record(path, {"T": 1})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_record(path)["T"] == 1


def test_lines_are_one_record_each(tmp_path):
    write_lines(tmp_path / "all.jsonl", ({"T": T} for T in (1, 2)))
    assert [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()] == [
        {"T": 1},
        {"T": 2},
    ]
