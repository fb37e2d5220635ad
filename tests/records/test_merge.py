"""Shards of one study: merged where they belong together, refused in one line where they do not."""

import pytest

from kvbench.records.merge import ShardError, merge
from kvbench.records.store import read_record, write_record

PARTS = {"environment": "e", "device": "d", "weights": "w", "code": "c"}


def cell(study, path, value=1, **parts):
    about = {"pretrained": "gpt2", "benchmark_name": "vram_vs_T", "version": path[5:7]}
    about |= {"device_name": f"device {parts.get('device', 'd')}"}
    write_record(study / path, about | {"value": value, "provenance": PARTS | parts})


@pytest.fixture
def shards(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    cell(here, "vram/v1/T4.json")
    cell(there, "vram/v2/T4.json", code="v2's")
    cell(there, "vram/v1/T8.json")
    return here, there


def test_what_is_lacking_is_copied_and_dated_now(shards):
    here, there = shards
    assert sorted(map(str, merge(here, [there]))) == ["vram/v1/T8.json", "vram/v2/T4.json"]
    assert read_record(here / "vram/v1/T8.json")["value"] == 1
    assert (here / "vram/v1/T8.json").stat().st_mtime >= (there / "vram/v1/T8.json").stat().st_mtime
    assert merge(here, [there]) == [], "merging again changes nothing"


@pytest.mark.parametrize(
    "path,how,said",
    [
        ("vram/v1/T16.json", {"device": "x"}, r"differ in device \(device d and device x\)"),
        ("vram/v1/T16.json", {"environment": "x"}, "differ in environment"),
        ("vram/v1/T16.json", {"code": "x"}, "differ in code"),
        ("vram/v1/T4.json", {"value": 2}, "are two results of one cell"),
    ],
)
def test_what_does_not_belong_is_refused_and_nothing_is_copied(shards, path, how, said):
    here, there = shards
    cell(there, path, **how)
    with pytest.raises(ShardError, match=said):
        merge(here, [there])
    assert [p.name for p in here.rglob("*.json")] == ["T4.json"]


def test_a_truncated_shard_is_refused(shards):
    here, there = shards
    (there / "vram/v2/T4.json").write_text('{"value"')
    with pytest.raises(ShardError, match="is not a whole record"):
        merge(here, [there])


@pytest.mark.parametrize("provenance", [None, 5, [], "text"])
def test_a_shard_whose_provenance_is_none_is_refused_by_name(tmp_path, provenance):
    here, there = tmp_path / "here", tmp_path / "there"
    write_record(here / "vram/a.json", {"value": 1, "provenance": PARTS})
    write_record(there / "vram/b.json", {"value": 1, "provenance": provenance})
    with pytest.raises(ShardError, match=r"b\.json has a provenance that is no object"):
        merge(here, [there])
    assert not (here / "vram/b.json").exists()
