"""A roofline cell of several processes: samples in rounds, and the cell at its contract path."""

import json

from project import TOY, copy, snakemake, write_zeros

STUDY = ("--configfile", "config/toy.yaml")
PLACE = "roofline/custom/{}/B1/P8"

# Stands in for a benchmark that loads torch: rules, queue, pool and records are real.
BENCH = """
import time
from datetime import UTC, datetime

def run(cell, weights, kernels=None):
    began = datetime.now(UTC).isoformat()
    ms = time.monotonic() % 1 + 1
    runs = [{"device_ms": ms * near, "wall_ms": ms * near} for near in (1, 1.0001)]
    state = {"began_at": began, "disturbed": False, "device_id": "cpu"}
    return {**cell.header(), **cell.axes(), "time_ms_median": ms, "source": "model",
            "runs": runs, "machine_state": state}
"""


def test_processes_run_in_rounds_and_are_pooled_at_the_contract_path(tmp_path):
    copy(tmp_path)
    more = "replicates: 2\nroofline: {P: 8, source: model}\n"
    toy = TOY.replace("[vram]", "[roofline]").replace("[v1]", "[v1, v2]") + more
    (tmp_path / "config/toy.yaml").write_text(toy)
    shapes = {"wte.weight": [128, 32], "wpe.weight": [64, 32], "h.0.ln_1.weight": [32]}
    write_zeros(tmp_path / "toy.safetensors", shapes)
    (tmp_path / "src/kvbench/bench/roofline.py").write_text(BENCH)
    phases = [PLACE.format(f"{version}_decode") for version in ("v1", "v2")]
    cells = [f"results/toy/{place}.json" for place in phases]
    snakemake(tmp_path, *cells, *STUDY)
    processes = []
    for place, cell in zip(phases, cells, strict=True):
        record = json.loads((tmp_path / cell).read_text())
        samples = sorted((tmp_path / "results/toy/samples" / place).iterdir())
        assert [path.name for path in samples] == ["r1.json", "r2.json"]
        times = [json.loads(path.read_text())["time_ms_median"] for path in samples]
        found = record["time_ms_interval"]
        assert found["replicates"] == 2 and found["low"] < min(times) < max(times) < found["high"]
        assert [p["replicate"] for p in record["processes"]] == [1, 2] and "runs" not in record
        processes += record["processes"]
    began = sorted(processes, key=lambda process: process["machine_state"]["began_at"])
    assert [process["replicate"] for process in began] == [1, 1, 2, 2]
    places = [process["place_in_line"] for process in began]
    assert places == sorted(places) and 0 not in places
