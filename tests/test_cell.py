"""A cell is plain data to Snakemake, and writes the head of its record whatever became of it."""

import pytest

from kvbench.bench import roofline_counted
from kvbench.bench.setup import ready
from kvbench.cell import Cell
from kvbench.plan import cells
from kvbench.plan.config import load_schema, resolve
from kvbench.records.types import Measured

SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 64, "block_size": 256, "vocab_size": 101}
CONFIG = resolve(
    {"pretrained": None, "model_config": SHAPE, "device": "cpu", "kernel": "torch"}, load_schema()
)
ROOFS = {"device_name": "made", "read_gb_s": 5.0, "gemm_gflop_s": 50.0}


@pytest.fixture
def cell():
    where = {"batch": "1", "phase": "decode", "P": "16"}
    return cells.make(CONFIG, "roofline", preset="custom", version="v2", **where)


def test_a_cell_comes_back_from_its_param_and_says_no_more_than_its_benchmark_takes(cell):
    param = cell.param()
    assert Cell.of(param) == cell
    assert {"phase", "P", "layer_owner", "pretrained"} <= param.keys()
    assert not param.keys() & {"T", "depth", "context", "divergence", "yardstick"}
    with pytest.raises(TypeError, match="owner"):
        Cell.of(param | {"owner": [0]})


def test_measured_counted_and_failed_records_have_one_head(cell):
    with ready(cell, None) as setup:
        measured = setup.record()
    counted = {"time_ns": 1000, "dram_bytes": 1, "core_flop": 1, "tensor_flop": 0, "notes": []}
    records = [
        measured,
        roofline_counted.run(cell, counted, ROOFS, "csv"),
        cell.failure("out of memory", "no room\nfor it"),
    ]
    for record in records:
        assert cell.header().items() <= record.items()
        assert cell.header().keys() <= set(Measured.__struct_fields__)
    assert records[1]["cache_layout"] == measured["cache_layout"]
    assert (records[2]["P"], records[2]["error_detail"]) == (16, "no room")
