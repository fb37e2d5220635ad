"""Energy is what the counters say beyond the idle device, or null with the reason."""

import json

import pytest

from kvbench.analysis.pool import pool
from kvbench.bench import latency
from kvbench.bench.meters import energy
from kvbench.plan.cells import cell, control, execution, peer
from kvbench.plan.config import load_schema, resolve
from kvbench.report import tables

SHAPE = {"n_layer": 3, "n_head": 2, "n_embd": 64, "block_size": 96, "vocab_size": 101}
STUDY = {"pretrained": "null", "model_config": SHAPE, "prompt_length": 8, "device": "cpu"}
CONFIG = resolve(STUDY | {"roofline": {"P": 20}}, load_schema())


def cell_of(device="cpu", **also):
    return cell(CONFIG, "latency", "custom", "v1", T=5, batch=2).replace(device=device, **also)


class Board:
    """A device that draws 100 W, and 400 W while it works; its counter moves every `step` s."""

    def __init__(self, step):
        self.step, self.now, self.count, self.shown, self.moved = step, 0.0, 0.0, 0.0, 0.0

    def sleep(self, seconds, watts=100.0):
        while seconds > 1e-12:
            part = min(seconds, self.moved + self.step - self.now)
            self.now, self.count = self.now + part, self.count + watts * part
            seconds -= part
            if self.now >= self.moved + self.step - 1e-12:
                self.shown, self.moved = self.count, self.now

    def work(self, seconds):
        self.sleep(seconds, 400.0)

    def meter(self):
        return energy.Meter(lambda: self.shown, lambda: None, lambda: self.now, self.sleep)


@pytest.mark.parametrize("step", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("each", [0.0005, 0.013, 0.4])
def test_work_is_what_was_drawn_beyond_the_idle_device(step, each):
    board = Board(step)
    meter = board.meter()
    assert meter.idle_w == pytest.approx(100) and meter.update_s == pytest.approx(step, abs=2e-3)
    found = meter.drawn(lambda: board.work(each), 1.0)
    assert found.seconds == pytest.approx(found.repeats * each) and found.seconds >= 1.0
    assert found.each == pytest.approx(300 * each, rel=0.01)


def test_a_work_too_short_for_the_counter_and_a_counter_that_stands_are_named():
    board = Board(0.1)
    meter = board.meter()
    with pytest.raises(energy.CounterError, match=r"0\.5\d* s.*every 0\.1 s.*energy_s to 1"):
        meter.drawn(lambda: board.work(0.01), 0.5)
    with pytest.raises(energy.CounterError, match="has not moved for 2 s"):
        Board(5.0).meter()


def zone(folder, name, energy_uj, most=1000, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in {"name": name, "energy_uj": energy_uj, "max_energy_range_uj": most}.items():
        (folder / file).write_text(f"{text}\n")


def test_rapl_counts_packages_and_their_dram_over_the_end_of_their_range(tmp_path):
    def counted(package, dram):
        zone(tmp_path / "intel-rapl:0", "package-0", package)
        zone(tmp_path / "intel-rapl:0:0", "core", 7 * package)  # a part of the package
        zone(tmp_path / "intel-rapl:0:2", "dram", dram)
        zone(tmp_path / "intel-rapl:1", "psys", 9 * package)  # the package is a part of it

    counted(900, 100)
    joules = energy.Rapl(tmp_path)
    assert joules() == 0
    counted(950, 120)
    assert joules() == pytest.approx(70e-6)
    counted(30, 130)  # of 1000
    assert joules() == pytest.approx((70 + 80 + 10) / 1e6)


def test_a_machine_without_counters_says_why(tmp_path, driver):
    with pytest.raises(energy.CounterError, match=f"no RAPL counters under {tmp_path}"):
        energy.Rapl(tmp_path)
    zone(tmp_path / "intel-rapl:0", "package-0", "")
    with pytest.raises(energy.CounterError, match=r"intel-rapl:0/energy_uj cannot be read.*root"):
        energy.Rapl(tmp_path)
    source, joules = energy.counter("cuda")
    assert (source, joules()) == ("nvml", 5.0)
    driver.energy = None
    with pytest.raises(energy.CounterError, match="no total energy"):
        energy.counter("cuda")


@pytest.fixture
def board(monkeypatch):
    """A CPU whose counter is that of a Board which is busy for every forward of the model."""
    board = Board(0.02)
    meter = energy.Meter
    monkeypatch.setattr(energy, "counter", lambda device: ("rapl", lambda: board.shown))
    monkeypatch.setattr(
        energy, "Meter", lambda joules, wait: meter(joules, wait, lambda: board.now, board.sleep)
    )
    return board


@pytest.fixture
def record(board, monkeypatch):
    """A latency sample in which a prefill takes 30 ms and a step 10 ms of the board."""
    from kvbench.models import gpt2

    forward = gpt2.Model.forward

    def timed(model, idx, *cached):
        board.work(0.03 if idx.size(1) > 1 else 0.01)
        return forward(model, idx, *cached)

    monkeypatch.setattr(gpt2.Model, "forward", timed)
    return latency.run(cell_of(yardstick=False, kernel="torch"), None)


def test_a_latency_cell_tells_joules_a_token_of_prefill_and_decode(record):
    drawn = record["energy"]
    assert (drawn["source"], drawn["reason"]) == ("rapl", None)
    assert drawn["prefill_j_per_token"] == pytest.approx(300 * 0.03 / (2 * 8), rel=0.01)
    assert drawn["decode_j_per_token"] == pytest.approx(300 * 0.01 / 2, rel=0.01)
    assert drawn["prefills"]["repeats"] == 34 and drawn["generations"]["repeats"] == 15
    json.dumps(record, allow_nan=False)


def test_processes_are_pooled_to_an_interval_and_a_table(record, tmp_path):
    more = record | {"energy": record["energy"] | {"decode_j_per_token": 1.6}}
    pooled = pool([record | {"replicate": 1}, more | {"replicate": 2}])
    found = pooled["energy"]["decode_j_per_token"]
    assert found["low"] < 1.5 < found["point"] < 1.6 < found["high"] and found["replicates"] == 2
    assert [p["energy"]["decode_j_per_token"] for p in pooled["processes"]][1] == 1.6
    none = record | {"energy": record["energy"] | {"decode_j_per_token": -0.1}}
    lost = pool([none | {"replicate": 1}])["energy"]
    assert lost["decode_j_per_token"] is None and "no more than the idle device" in lost["reason"]
    old = {key: value for key, value in pooled.items() if key != "energy"}
    tables.publish(tables.table([pooled, old], "energy"), tmp_path / "t.md", tmp_path / "t.csv")
    first, second = (tmp_path / "t.csv").read_text().splitlines()[1:]
    assert ",rapl," in first and second.endswith("not asked for")
    assert "above what the idle device draws" in (tmp_path / "t.md").read_text()


def test_without_a_counter_values_are_null_and_nothing_is_waited_for(monkeypatch, tmp_path):
    monkeypatch.setattr(energy.Rapl.__init__, "__defaults__", (tmp_path,))
    record = latency.run(cell_of(yardstick=False), None)
    assert record["energy"]["source"] is record["energy"]["prefill_j_per_token"] is None
    assert record["energy"]["reason"] == f"no RAPL counters under {tmp_path}"
    pooled = pool([record | {"replicate": 1}])
    assert pooled["energy"]["decode_j_per_token"] is None
    assert pooled["energy"]["reason"].startswith("no RAPL")
    assert "energy" not in latency.run(cell_of(yardstick=False, energy_s=0), None)


def test_only_latency_cells_count_energy():
    where = {"batch": "1", "T": "8"}
    assert cell(CONFIG, "latency", "custom", "v1", **where).energy_s == 1
    others = [
        control(CONFIG, "custom", "v1-again", **where),
        peer(CONFIG, "custom", "transformers-dynamic", **where),
        execution(CONFIG, "custom", "eager-torch", "v1", **where),
        cell(CONFIG, "vram", "custom", "v1", **where),
    ]
    assert not any(one.energy_s for one in others)


@pytest.mark.gpu
def test_a_gpu_tells_joules_a_token_or_why_not():
    """A model that keeps a GPU busy: what a tiny one draws is lost in the idle device's power."""
    shape = {"n_layer": 4, "n_head": 16, "n_embd": 1024, "block_size": 256, "vocab_size": 1000}
    wide = resolve(STUDY | {"model_config": shape, "prompt_length": 128}, load_schema())
    asked = cell(wide, "latency", "custom", "v1", T=64, batch=64)
    drawn = latency.run(asked.replace(device="cuda", energy_s=2.0), None)["energy"]
    if drawn["source"] is None:
        pytest.skip(drawn["reason"])
    assert 10 < drawn["idle_w"] < 1000 and 0 < drawn["update_s"] < 0.2
    for loop in ("prefills", "generations"):
        assert 0 < drawn[loop]["joules"] / drawn[loop]["seconds"] < 2000  # W
    assert drawn["prefill_j_per_token"] > 0 and drawn["decode_j_per_token"] > 0
