"""What reads clocks and memory on a GPU, with a torch.cuda that is made up; and on a real one."""

import sys
import time
from types import SimpleNamespace

import pytest
import torch
from fake_gpu import CudaAllocator, Device

from kvbench.bench import roofline
from kvbench.bench.meters.clock import clock
from kvbench.bench.meters.peak_memory import peak_meter, reserved
from kvbench.job import nvml


def test_no_event_is_made_between_marks(monkeypatch):
    device = Device(monkeypatch)
    ticks = clock("cuda", 4)
    assert len(device.made) == 4
    ticks()
    for ms in (1.0, 2.0, 3.0):
        device.launch(ms)
        ticks()
    assert len(device.made) == 4
    assert ticks.intervals_ms() == pytest.approx([1.01, 2.0, 3.0])


@pytest.mark.parametrize(("ms", "repeats"), [(0.06, 50), (0.9, 6), (20.0, 1)])
def test_a_phase_s_device_time_is_of_several_in_a_row(ms, repeats, monkeypatch):
    device = Device(monkeypatch)
    setup = SimpleNamespace(device="cuda", synchronise=device.synchronise)
    found = roofline.timed(setup, lambda: device.launch(ms))
    assert found["repeats"] == repeats
    assert found["wall_ms"] == pytest.approx(ms + 0.01)  # with the latency of its launch
    assert found["device_ms"] == pytest.approx(ms + 0.01 / repeats)


def test_the_cuda_meter_counts_what_was_asked_for_and_keeps_the_blocks_too(monkeypatch):
    allocator = CudaAllocator()
    for name in ("memory_stats", "reset_peak_memory_stats", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, getattr(allocator, name))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "native")
    allocator.take(100)  # before the meter starts
    meter = peak_meter("cuda")
    meter.start()
    for n in (1000, 500, -1000):
        allocator.take(n)
    meter.split()
    allocator.take(300)
    meter.stop()
    assert meter.peaks == [1500, 800]
    assert meter.process_bytes == {"peak_allocated_bytes": 2048, "peak_reserved_bytes": 2**21}
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "cudaMallocAsync")
    with pytest.raises(RuntimeError, match="backend:cudaMallocAsync.*backend:native"):
        meter.start()


@pytest.mark.gpu
def test_the_cuda_meter_counts_every_byte():
    meter = peak_meter("cuda")
    meter.start()
    a = torch.empty(1000, dtype=torch.uint8, device="cuda")
    b = torch.empty(500, dtype=torch.uint8, device="cuda")
    del a
    meter.split()
    c = torch.empty(300, dtype=torch.uint8, device="cuda")
    meter.stop()
    del b, c
    assert meter.peaks == [1500, 800]
    assert (
        meter.process_bytes["peak_reserved_bytes"]
        >= meter.process_bytes["peak_allocated_bytes"]
        >= 1536
    )


def test_what_a_captured_graph_keeps_is_counted_apart(monkeypatch):
    segments = [((0, 0), 2**21), ((0, 1), 2**20), ((0, 1), 2**22), ((3, 0), 512)]
    segments = [{"segment_pool_id": pool, "total_size": size} for pool, size in segments]
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda: segments)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 2**23)
    expected = {"memory_reserved_bytes": 2**23, "graph_pool_bytes": 2**20 + 2**22 + 512}
    assert reserved("cuda") == expected and reserved("cpu") == {}


@pytest.mark.gpu
def test_a_graph_keeps_its_pool():
    graph, x = torch.cuda.CUDAGraph(), torch.ones(1 << 20, device="cuda")
    x * 2  # loads the kernel, which a capture may not
    before = reserved("cuda")
    with torch.cuda.graph(graph):
        y = x * 2
    after = reserved("cuda")
    assert after["graph_pool_bytes"] - before["graph_pool_bytes"] >= y.nbytes
    assert after["memory_reserved_bytes"] >= after["graph_pool_bytes"]


def test_the_driver_s_counters_are_of_the_gpu_that_this_process_holds(driver, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1234,GPU-5678")
    assert (nvml.energy_mj(), nvml.slowed_us()) == (5_000, 3_000)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    nvml.energy_mj()
    assert driver.asked == ["GPU-1234", "GPU-1234", 0]
    driver.energy = None
    with pytest.raises(nvml.CounterError, match="no total energy of this GPU: Not Supported"):
        nvml.energy_mj()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-none")
    with pytest.raises(nvml.CounterError, match="GPU GPU-none: Not Found"):
        nvml.slowed_us()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(nvml.CounterError, match="nvidia-ml-py is not installed"):
        nvml.slowed_us()


@pytest.mark.gpu
@pytest.mark.parametrize("count", [nvml.energy_mj, nvml.slowed_us])
def test_a_real_driver_counts_up_while_the_gpu_works(count):
    try:
        first = count()
    except nvml.CounterError as reason:
        pytest.skip(str(reason))
    x = torch.rand(4096, 4096, device="cuda")
    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        x @ x
        torch.cuda.synchronize()
    counted = count() - first
    if count is nvml.energy_mj:
        assert 10_000 < counted < 2_000_000  # 10 W to 2 kW for a second
    assert counted >= 0
