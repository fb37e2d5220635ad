"""A version that is measured again measures its baseline with it, whose own files stay."""

import json

from project import TOY, copy, snakemake, write_zeros

from kvbench.analysis.rounds import rounds, side_by_side

STUDY = ("--configfile", "config/toy.yaml")
CELLS = [f"results/toy/latency/custom/{version}/B1/T4.json" for version in ("v1", "v2")]

# Stands in for a benchmark that loads torch: rules, requests, processes and records are real.
BENCH = """
from datetime import UTC, datetime

def run(cell, weights, kernels=None):
    run = {"time_total_ms": 4.0, "ttft_ms": 1.0, "step_ms": [1.0] * 4, "sampling_ms": 0.1}
    state = {"began_at": datetime.now(UTC).isoformat(), "disturbed": False, "device_id": "cpu"}
    medians = {"ttft_ms_median": 1.0, "tpot_ms_median": 1.0, "sampling_ms_median": 0.1}
    return {**cell.header(), **cell.axes(), **medians, "runs": [run], "machine_state": state}
"""


def test_the_baseline_is_measured_with_an_edited_version(tmp_path):
    copy(tmp_path)
    toy = TOY.replace("[vram]", "[latency]").replace("[v1]", "[v1, v2]") + "replicates: 2\n"
    (tmp_path / "config/toy.yaml").write_text(toy)
    rows = {"wte": [128, 32], "wpe": [64, 32], "h.0.ln_1": [32]}
    shapes = {f"{name}.weight": size for name, size in rows.items()}
    write_zeros(tmp_path / "toy.safetensors", shapes)
    (tmp_path / "src/kvbench/bench/latency.py").write_text(BENCH)
    snakemake(tmp_path, *CELLS, *STUDY)
    v1, v2 = (json.loads((tmp_path / cell).read_text()) for cell in CELLS)
    assert not any("partners" in process for process in (*v1["processes"], *v2["processes"]))

    kept = {path: path.read_bytes() for path in tmp_path.glob("results/**/v1/**/*.json")}
    edited = tmp_path / "src/kvbench/caches/coded.py"
    edited.write_text(edited.read_text() + "\nADDED = 1\n")
    snakemake(tmp_path, *CELLS, *STUDY)
    assert kept and all(path.read_bytes() == was for path, was in kept.items())
    again = json.loads((tmp_path / CELLS[1]).read_text())
    assert again["provenance"]["code"] != v2["provenance"]["code"]
    for process in again["processes"]:
        (other,) = process["partners"]
        assert other["version"] == "v1" and other["key"] == v1["provenance"]["key"]
    first, second = side_by_side(again, v1)
    assert rounds(first, second).replicates == [1, 2]
    began = [
        [p["machine_state"]["began_at"] for p in cell["processes"]] for cell in (first, second)
    ]
    assert began[0][0] < began[1][0] and began[1][1] < began[0][1]  # first by turns
