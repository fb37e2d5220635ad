"""A record's key says what it comes from: another code, setting, input or device is another key."""

import pytest
import torch
from safetensors.torch import save_file

from kvbench.bench.meters import machine
from kvbench.files import placeholder
from kvbench.models import weights
from kvbench.records import provenance
from kvbench.records.provenance import PARTS, stamp
from kvbench.records.read import MixedRecordsError, read_cells
from kvbench.records.store import write_record

RECORD = {"device_name": "a machine", "pytorch_version": "2", "dtype": "float32", "threads": 1}
RECORD |= {"pretrained": "nano", "weights": "trained"}


@pytest.fixture
def inputs(tmp_path):
    """The inputs of a job: code, weights with their digest in them, and a text."""
    (tmp_path / "a.py").write_text("A = 1\n")
    (tmp_path / "text.npz").write_text("one two three")
    weights.save(tmp_path / "w.safetensors", {"x": torch.arange(4.0)}, source="made")
    files = {"code": [str(tmp_path / "a.py")], "weights": str(tmp_path / "w.safetensors")}
    return files | {"tokens": str(tmp_path / "text.npz")}


def changed(before, after):
    one, two = before["provenance"], after["provenance"]
    assert (one["key"] == two["key"]) == (one == two)
    return {part for part in PARTS if one[part] != two[part]}


def test_each_part_follows_what_it_names(inputs, tmp_path):
    cell = {"version": "v1", "T": 8}
    first = stamp(RECORD, cell, inputs)
    assert changed(first, stamp(RECORD, dict(reversed(cell.items())), inputs)) == set()
    assert changed(first, stamp(RECORD, cell | {"T": 9}, inputs)) == {"config"}
    assert changed(first, stamp(RECORD | {"device_name": "b"}, cell, inputs)) == {"device"}
    assert changed(first, stamp(RECORD | {"libraries": {}}, cell, inputs)) == {"environment"}
    (tmp_path / "text.npz").write_text("one two four")
    assert changed(first, stamp(RECORD, cell, inputs)) == {"data"}
    (tmp_path / "a.py").write_text("A = 2\n")
    assert changed(first, stamp(RECORD, cell, inputs)) == {"data", "code"}
    weights.save(inputs["weights"], {"x": torch.arange(4.0) + 1}, source="made")
    assert changed(first, stamp(RECORD, cell, inputs)) == {"data", "code", "weights"}


def test_a_job_without_weights_or_facts_has_none_of_these_parts(inputs):
    found = stamp({"error": "out of memory"}, {}, {"code": inputs["code"], "weights": []})
    without = {"weights", "data", "environment", "device"}
    assert {part for part in PARTS if found["provenance"][part] is None} == without


def test_a_record_of_weights_that_could_not_be_had_has_a_key_too(inputs, tmp_path):
    with placeholder.passed_on(tmp_path / "hub.safetensors"):
        raise placeholder.NotMeasuredError("no hub here")
    found = stamp(
        {"error": "not measured"}, {}, inputs | {"weights": str(tmp_path / "hub.safetensors")}
    )
    assert found["provenance"]["key"]


def test_weights_are_named_by_their_tensors_not_by_their_file(inputs, tmp_path, monkeypatch):
    again = tmp_path / "again.safetensors"
    weights.save(again, {"x": torch.arange(4.0)}, source="made elsewhere", seed=7)
    named = provenance.weights_digest(inputs["weights"])
    assert provenance.weights_digest(again) == named
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.arange(4.0)}, foreign)
    assert provenance.weights_digest(foreign) != named  # no digest in it: the file is read whole
    monkeypatch.setattr(provenance, "_sha256", lambda path: pytest.fail("read the whole file"))
    assert provenance.weights_digest(again) == named


@pytest.mark.parametrize("replicates", [False, True])
def test_cells_of_other_weights_are_refused_by_name(inputs, tmp_path, replicates):
    one = stamp(RECORD, {}, inputs)
    weights.save(inputs["weights"], {"x": torch.zeros(4)}, source="made")
    two = stamp(RECORD, {}, inputs)
    for name, record in (("v1", one), ("v2", two), ("other", two | {"pretrained": "gpt2"})):
        write_record(tmp_path / f"{name}.json", record)
    paths = {name: str(tmp_path / f"{name}.json") for name in ("v1", "v2", "other")}
    with pytest.raises(MixedRecordsError, match=r"provenance\.weights.*v1\.json.*v2\.json"):
        read_cells([paths["v1"], paths["v2"]], replicates)
    if not replicates:  # another preset has weights of its own
        read_cells([paths["v1"], paths["other"]])
        fitted = two | {
            "weights_variant": "calibrated",
            "layer_owner": [0, 0],
        }  # and so have fitted versions
        write_record(tmp_path / "v14.json", fitted)
        read_cells([paths["v1"], str(tmp_path / "v14.json")])


def test_samples_of_one_cell_share_their_whole_provenance(inputs, tmp_path):
    write_record(tmp_path / "r1.json", stamp(RECORD, {}, inputs))
    (tmp_path / "a.py").write_text("A = 2\n")
    write_record(tmp_path / "r2.json", stamp(RECORD, {}, inputs))
    paths = [str(tmp_path / f"{name}.json") for name in ("r1", "r2")]
    assert len(read_cells(paths)) == 2  # versions may be of several days' code
    with pytest.raises(MixedRecordsError, match=r"provenance\.code.*r1\.json.*r2\.json"):
        read_cells(paths, replicates=True)


def test_a_watch_says_what_disturbed_a_sample(monkeypatch):
    clock = {"wall": 0.0, "cpu": 0.0}
    monkeypatch.setattr(machine.time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(machine.time, "process_time", lambda: clock["cpu"])
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (1.0, 1.0, 1.0))
    monkeypatch.setattr(machine, "_switches", lambda: 0)

    def report(wall, cpu, **happened):
        watch = machine.Watch("cpu", 1)
        if "load" in happened:
            watch.load_before = happened["load"]
        clock.update(wall=clock["wall"] + wall, cpu=clock["cpu"] + cpu)
        if "switches" in happened:
            monkeypatch.setattr(machine, "_switches", lambda: happened["switches"])
        return watch.report()

    calm = report(2.0, 1.99)
    assert not calm["disturbed"] and calm["disturbed_by"] == []
    assert report(2.0, 1.0)["disturbed_by"] == ["share"]
    assert report(2.0, 2.0, load=3.5)["disturbed_by"] == ["load"]
    assert report(2.0, 2.0, switches=900)["disturbed_by"] == ["switches"]


def test_throttling_is_what_was_counted_in_between(tmp_path):
    def reading(core_counts, quota):
        for i, count in enumerate(core_counts):
            path = tmp_path / f"cpu{i}/thermal_throttle/core_throttle_count"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{count}\n")
        (tmp_path / "cpu.stat").write_text(f"nr_periods 9\nnr_throttled {quota}\n")
        return machine.throttling("cpu", tmp_path, tmp_path / "cpu.stat")

    before, after = reading([3, 4], 1), reading([3, 6], 1)
    assert machine.since(before, after) == {"thermal": 2, "quota": 0}
    blind = machine.throttling("cpu", tmp_path / "none", tmp_path / "none")
    assert machine.since(blind, blind) == {"thermal": None, "quota": None}


def test_a_gpu_s_slow_downs_are_counted_while_it_works(driver, tmp_path, monkeypatch):
    def read():
        return machine.throttling("cuda", tmp_path, tmp_path / "none")["gpu"]

    before = read()
    driver.slowed[driver.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP] += 7_000_000  # ns
    assert machine.since({"gpu": before}, {"gpu": read()}) == {"gpu": 7000}  # us
    clock = {"wall": 0.0}
    monkeypatch.setattr(machine.time, "perf_counter", lambda: clock["wall"])
    for ms, disturbed in ((5, []), (15, ["throttled"])):
        watch = machine.Watch("cuda", 1)
        clock["wall"] += 1.0
        driver.slowed[270] += ms * 1_000_000
        found = watch.report()
        assert found["throttled"]["gpu"] == 1000 * ms and found["disturbed_by"] == disturbed
    driver.slowed.clear()  # an older driver
    assert read() is None
