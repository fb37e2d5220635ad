"""Inputs out of wheels: pip itself, run on small wheels in a folder; no network."""

import hashlib
import re
import zipfile
from pathlib import Path

import pytest
import yaml

from kvbench.files import placeholder
from kvbench.inputs.wheel import FetchError, fetch
from kvbench.job.measure import out_of_memory_is_a_result
from kvbench.plan import cells
from kvbench.plan.config import load_schema, resolve
from kvbench.records.provenance import stamp

CONTENT = b"ranks\n" * 100
ENTRY = {
    "wheel": "kvbench-test-data",
    "version": "1.0",
    "member": "kvbench_test_data/ranks.txt",
    "bytes": len(CONTENT),
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
}


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder that holds the wheel of ENTRY, and is all that pip can see."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "kvbench_test_data-1.0.dist-info"
    with zipfile.ZipFile(folder / "kvbench_test_data-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(ENTRY["member"], CONTENT)
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: kvbench-test-data\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def refusal(entry, target):
    with pytest.raises(FetchError) as refused:
        fetch(entry, target)
    assert "\n" not in str(refused.value)
    assert not target.parent.exists() or not any(target.parent.iterdir()), (
        "something was left behind"
    )
    return str(refused.value)


def test_a_member_is_taken_out_and_nothing_else_stays(wheels, tmp_path):
    target = tmp_path / "raw" / "ranks.txt"
    fetch(ENTRY, target)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


@pytest.fixture
def downloaded(wheels, monkeypatch):
    """The wheel without the second that pip takes to hand it over."""
    monkeypatch.setattr(
        "kvbench.inputs.wheel.download", lambda entry, folder: next(wheels.iterdir())
    )


def test_other_bytes_are_refused_naming_expected_and_found(downloaded, tmp_path):
    entry = {**ENTRY, "sha256": "0" * 64}
    said = refusal(entry, tmp_path / "raw" / "ranks.txt")
    assert entry["sha256"] in said and ENTRY["sha256"] in said


def test_a_missing_member_is_named(downloaded, tmp_path):
    said = refusal({**ENTRY, "member": "gone.txt"}, tmp_path / "raw" / "ranks.txt")
    assert said == "kvbench_test_data-1.0-py3-none-any.whl has no member gone.txt"


def test_a_version_that_the_index_lacks_is_not_no_index_at_all(wheels, tmp_path, monkeypatch):
    target = tmp_path / "raw" / "ranks.txt"
    said = refusal({**ENTRY, "version": "2.0"}, target)
    assert "kvbench-test-data==2.0" in said and "see which wheels" in said
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert "go online" in refusal(ENTRY, target)


def test_an_optional_input_that_cannot_be_had_says_so_down_to_the_cell(wheels, tmp_path):
    raw, made = tmp_path / "raw" / "model.gguf", tmp_path / "model.safetensors"
    fetch({**ENTRY, "version": "2.0", "optional": True}, raw)
    with placeholder.passed_on(made):  # a conversion
        placeholder.check(raw)

    def run(cell, weights):
        placeholder.check(weights)

    cell = cells.cell(resolve({}, load_schema()), "perplexity", "nano", "v1")
    record = out_of_memory_is_a_result(run, cell, weights=str(made))
    assert stamp(record, cell.param(), {"code": [__file__], "weights": str(made)})["provenance"][
        "weights"
    ]
    assert record["error"] == "not measured" and "kvbench-test-data==2.0" in record["error_detail"]
    assert (record["version"], record["pretrained"]) == ("v1", "nano")
    with pytest.raises(FetchError, match="sha256"):  # other bytes are never taken for absent ones
        fetch({**ENTRY, "sha256": "0" * 64, "optional": True}, raw)


def test_every_entry_of_the_manifest_is_pinned_and_attributed():
    path = Path(__file__).parents[2] / "resources" / "manifest.yaml"
    for name, entry in yaml.safe_load(path.read_text()).items():
        assert re.fullmatch(r"[\w.-]+", name)
        assert re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]) and entry["bytes"] > 0
        assert re.fullmatch(r"\d+(\.\d+)+", entry["version"])
        assert all(entry[key] for key in ("wheel", "member", "licence", "attribution", "source"))
        assert entry.keys() <= {*ENTRY, "pip", "optional", "licence", "attribution", "source"}
