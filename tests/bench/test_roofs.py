"""The roofs: what is read how, which caches there are, and DRAM traffic where it is counted."""

import pytest

from kvbench.bench import roofs
from kvbench.bench.meters import cpu_caches, dram

PERF = """#!/bin/sh
case "$*" in *sleep*) trap 'printf "{said}" >&2; exit 0' INT; while :; do sleep 0.01; done;; esac
printf "{said}" >&2
"""


@pytest.fixture
def system(tmp_path):
    """A /sys of caches and memory controllers."""
    for name, kind, level, size in (
        ("index0", "Data", 1, "32K"),
        ("index1", "Instruction", 1, "32K"),
        ("index2", "Unified", 2, "1M"),
        ("index3", "Unified", 3, ""),
    ):
        (tmp_path / name).mkdir()
        for file, text in (("type", kind), ("level", level), ("size", size)):
            (tmp_path / name / file).write_text(f"{text}\n")
    for unit in ("uncore_imc_0", "uncore_imc_1", "uncore_upi", "cpu"):
        (tmp_path / unit / "events").mkdir(parents=True)
        for event in ("cas_count_read", "cas_count_write"):
            (tmp_path / unit / "events" / event).touch()
    return tmp_path


def test_caches_that_hold_data_are_listed_with_their_sizes(system):
    found = cpu_caches.caches("cpu", system)
    assert found == [{"name": "L1", "size_bytes": 32 << 10}, {"name": "L2", "size_bytes": 1 << 20}]
    assert cpu_caches.caches("cpu", system / "absent") == []


@pytest.fixture
def small(monkeypatch):
    """Roofs of small buffers, one run each, and one cache level."""
    for name, small in (("BUFFER_BYTES", 1 << 16), ("GEMM_N", 16), ("CACHE_READS", 1 << 16)):
        monkeypatch.setattr(roofs, name, {"cpu": small})
    monkeypatch.setattr(roofs, "SECONDS", 0.0)
    monkeypatch.setattr(roofs, "CACHE_SECONDS", 0.0)
    listed = [{"name": "L1", "size_bytes": 1 << 14}]
    monkeypatch.setattr(cpu_caches, "caches", lambda device: listed)


def test_the_read_roof_is_the_fastest_way_to_read(small):
    found = roofs.run({"device": "cpu", "dtype": "float32", "threads": 1}, "no library here")
    assert found["read_gb_s"] == max(found["reads_gb_s"].values())
    assert set(found["reads_gb_s"]) == {"torch sum", "torch dot"}
    assert found["caches"][0] | {"read_gb_s": 0} == {
        **{"name": "L1", "size_bytes": 1 << 14, "buffer_bytes": 1 << 13, "read_gb_s": 0},
        "read_by": "torch sum",
    }
    assert set(found["gemms_gflop_s"]) == {found["gemm_by"]} == {"torch"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_native_kernels_may_set_the_roofs(small, monkeypatch, library, dtype):
    def times(work, device, seconds):  # the fastest way is the one that is tried last
        work()
        runs.append(1 / (len(runs) + 1))
        return [runs[-1]]

    runs: list[float] = []
    monkeypatch.setattr(roofs, "_times", times)
    found = roofs.run({"device": "cpu", "dtype": dtype, "threads": 1}, str(library))
    ways = {"read_by": "reads_gb_s", "gemm_by": "gemms_gflop_s"}
    assert {"native sum", "native sum, 8 streams"} < set(found["reads_gb_s"])
    assert {key: found[key] for key in ways} == {
        "read_by": "native sum, 16 streams",
        "gemm_by": "native",
    }
    for key, rates in (("read_gb_s", "reads_gb_s"), ("gemm_gflop_s", "gemms_gflop_s")):
        assert found[key] == max(found[rates].values())
    assert [cache["read_by"] for cache in found["caches"]] == ["native sum, 16 streams"]


def test_memory_controllers_are_detected_and_their_traffic_is_counted(system, monkeypatch):
    perf = system / "bin" / "perf"
    perf.parent.mkdir()
    monkeypatch.setenv("PATH", f"{perf.parent}:/usr/bin:/bin")
    assert dram.events(system)[0] == "uncore_imc_0/cas_count_read/"
    assert len(dram.events(system)) == 4
    assert not dram.usable(system / "absent")

    def says(text):
        perf.write_text(PERF.format(said=text))
        perf.chmod(0o755)

    says(
        "1.5;MiB;uncore_imc_0/cas_count_read/;1;100.00\\n10;;uncore_imc_1/cas_count_read/;1;100\\n"
    )
    assert dram.usable(system)
    with dram.counting(system) as counted:
        assert counted == []
    assert counted == [1.5 * (1 << 20) + 640]
    says("<not supported>;;uncore_imc_0/cas_count_read/;0;100.00\\n")
    assert not dram.usable(system)


def test_a_machine_without_such_counters_says_so(tmp_path):
    assert dram.events(tmp_path) == []
    assert not dram.usable(tmp_path)
