"""One measuring job per device, whoever asks: on a simulated machine, and in one process."""

import fcntl
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import fake_gpu
import pytest
from project import snakemake, toy

from kvbench.job import devices
from kvbench.plan.config import ConfigError, load_schema, resolve

STUDY = ["--configfile", "config/toy.yaml", "--config"]


def lives(folder):
    """(device, began, ended) of every cell, in order of beginning."""
    records = [json.loads(path.read_text()) for path in folder.glob("results/toy/vram/**/*.json")]
    assert not any(record["torch"] for record in records), "torch came before the device"
    return sorted((r["began"], r["ended"], r["device"]) for r in records)


def overlap(one, other):
    return one[0] < other[1] and other[0] < one[1]


def run(folder, n_cells, *settings):
    targets = [f"results/toy/vram/custom/v1/B1/T{T}.json" for T in range(1, n_cells + 1)]
    snakemake(folder, *targets, *STUDY, *settings, "devices=[0,1,2,3]", cores=4)
    return lives(folder)


def test_four_devices_measure_eight_cells_one_at_a_time_each(tmp_path, monkeypatch):
    """The first cells take their time until each device has one, however slowly they start."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    folder, until = toy(tmp_path), time.monotonic() + 120
    (folder / "hold").touch()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(run, folder, 8, "device=cuda")
        while len([*folder.glob("tmp/kvbench-*.lock")]) < 4 and time.monotonic() < until:
            time.sleep(0.05)
        (folder / "hold").unlink()
    measured = running.result()
    assert {device for *_, device in measured} == {"0", "1", "2", "3"}
    together = [(a, b) for i, a in enumerate(measured) for b in measured[:i] if overlap(a, b)]
    assert together, "the devices measured one after another"
    assert all(a[2] != b[2] for a, b in together), "two cells shared a device"


def test_cells_on_the_cpu_never_overlap_whatever_the_cores(tmp_path):
    measured = run(toy(tmp_path), 3, "device=cpu")
    assert all(not overlap(a, b) for a, b in zip(measured, measured[1:], strict=False))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with four CUDA devices whose UUIDs the driver tells, and no torch yet."""
    monkeypatch.setitem(sys.modules, "pynvml", fake_gpu.Driver())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(devices, "sys", SimpleNamespace(modules={}))
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")  # put back afterwards
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.delenv(devices.HOLD, raising=False)
    return monkeypatch


def test_devices_are_called_by_uuid_and_counted_within_an_allotment(machine):
    assert devices.names([1, 3]) == ["GPU-b", "GPU-d"]
    machine.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-a,MIG-x")
    assert devices.names([0, 1, 2]) == ["GPU-c", "GPU-a", "MIG-x"]
    with pytest.raises(devices.DeviceError, match="devices names 3, but there are 3 CUDA devices"):
        devices.names([0, 3])
    with pytest.raises(ConfigError, match=r"'devices' is \[0, 3\]; .* there are 3 CUDA"):
        resolve({"device": "cuda", "devices": [0, 3]}, load_schema())


def test_a_taken_device_is_all_the_process_sees_and_its_record_says_so(machine):
    with devices.one_device({"device": "cuda", "devices": [2]}) as held:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-c"
        assert held.facts() | {"lock_wait_s": 0} == {
            "device_id": "GPU-c",
            "device_index": 2,
            "lock_wait_s": 0,
        }
        with devices.device_lock("cuda") as again:  # the benchmark inside asks once more
            assert again == held


def test_a_device_handed_out_after_torch_is_refused(machine):
    machine.setattr(devices, "sys", SimpleNamespace(modules={"torch": None}))
    with (
        pytest.raises(devices.DeviceError, match="before torch"),
        devices.one_device({"device": "cuda", "devices": [0]}),
    ):
        pass


def test_a_device_in_use_is_waited_for_and_the_line_names_who_has_it(machine):
    other = open(devices.lock_path("GPU-a"), "w")  # noqa: SIM115 (closed when waited for)
    fcntl.flock(other, fcntl.LOCK_EX)
    print(12345, file=other, flush=True)
    with devices.one_device({"device": "cuda", "devices": [0, 1]}) as held:
        assert held.name == "GPU-b"  # the free one, at once
    machine.delenv("CUDA_VISIBLE_DEVICES")
    said = []
    machine.setattr(devices, "tell", lambda line: (said.append(line), other.close()))
    with devices.device_lock("cuda") as held:
        assert (held.name, held.index) == ("GPU-a", 0) and held.waited_s > 0
    assert said == ["waiting for GPU-a: process 12345 measures on it"]


def in_the_way(path, what, precious):
    if what == "a link":
        path.symlink_to(precious)
    elif what == "a hard link":
        path.hardlink_to(precious)
    elif what == "another file":
        path.write_text("10 precious lines\n")
    elif what == "a folder":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path)


@pytest.mark.parametrize("what", ["a link", "a hard link", "another file", "a folder", "a pipe"])
def test_what_lies_in_a_lock_s_place_is_refused_and_left_as_it_was(tmp_path, monkeypatch, what):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    precious, path = tmp_path / "precious", devices.lock_path("cpu")
    precious.write_text("10 precious lines\n")
    in_the_way(path, what, precious)
    with pytest.raises(devices.DeviceError) as refused, devices.device_lock("cpu"):
        pass
    assert str(path) in str(refused.value) and "remove it" in str(refused.value)
    assert precious.read_text() == "10 precious lines\n"
    assert path.is_dir() or path.is_fifo() or path.read_text() == "10 precious lines\n"


def test_a_lock_lies_in_the_folder_of_locks_whatever_names_say(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "../../elsewhere")
    for name in ("cpu", "MIG-GPU-a/1/2", "../x"):
        assert devices.lock_path(name).parent == tmp_path


def test_a_lock_names_who_holds_it_and_never_who_held_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    devices.lock_path("cpu").write_text("99999999999\n")
    with devices.device_lock("cpu"):
        assert devices.lock_path("cpu").read_text().split() == [str(os.getpid())]
