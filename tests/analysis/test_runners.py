"""Other runners of the same weights give v1's tokens; other ways to run a step are named."""

import sys
from importlib import import_module
from types import SimpleNamespace

import pytest
import tiny_models
import torch

from kvbench import peers
from kvbench.analysis import runners
from kvbench.analysis.pool import pool
from kvbench.bench import latency
from kvbench.bench import peers as peers_bench
from kvbench.caches import make
from kvbench.engine.generate import generate, no_mark
from kvbench.job.measure import out_of_memory_is_a_result
from kvbench.models.build import build
from kvbench.models.hf_config import shape_of
from kvbench.plan.cells import cell, execution, modes, peer
from kvbench.plan.config import load_schema, resolve
from kvbench.plan.queue import queue_key, sample_queue
from kvbench.report.figures import executions, style
from kvbench.report.figures import peers as peers_figure
from kvbench.report.tables import publish

SHAPE = {"n_layer": 3, "n_head": 2, "n_embd": 64, "block_size": 48, "vocab_size": 101}
STUDY = {
    "pretrained": "null",
    "energy_s": 0,
    "model_config": SHAPE,
    "prompt_length": 5,
    "num_measure_runs": 2,
}
CONFIG = resolve(STUDY | {"device": "cpu", "T_values": [6], "roofline": {"P": 9}}, load_schema())
WHERE = {"batch": "2", "T": "6"}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's, of its own jit


def needs(name):
    if lacking := peers.missing(name):
        pytest.skip(f"no {', '.join(lacking)}")


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_generates_v1s_tokens_from_v1s_weights(name, batch):
    needs(name)
    found = peer(CONFIG, "custom", name, batch=batch, T=6)
    ours = build(found.model_config, "own", "float32", seed=1, device="cpu")
    prompt = (7 * ours.lm_head.weight[:batch, :5]).abs().mul(1e3).long() % 101
    expected = generate(ours, prompt, 6, make("dense", ours.config, batch, 11, ours.lm_head.weight))
    module = import_module(f"kvbench.peers.{peers.PEERS[name]['module']}")
    other = module.Peer(ours, prompt, 6, peers.PEERS[name])
    marks = iter(range(2 * 6 + 1))
    assert other(marks.__next__).equal(expected) and next(marks, None) is None
    assert other(no_mark).equal(expected)  # again, from the start


@pytest.mark.parametrize("family", ["qwen3, head of 96", "gemma3", "olmo2", "gpt_neox"])
def test_transformers_generates_v1s_tokens_of_every_architecture(family):
    needs("transformers-static")
    shape = shape_of(tiny_models.tiny(family).config.to_dict())
    ours = build(shape, "own", "float32", seed=1, device="cpu")
    prompt = torch.arange(7)[None] * 11 % 157
    cache = make("dense", ours.config, 1, 15, ours.lm_head.weight)
    expected = generate(ours, prompt, 8, cache)
    module = import_module("kvbench.peers.hf")
    other = module.Peer(ours, prompt, 8, peers.PEERS["transformers-static"])
    assert other(no_mark).equal(expected)


def test_models_that_a_peer_cannot_hold_are_refused_in_one_line():
    needs("transformers-dynamic")
    shared = build({"arch": "gpt2", **SHAPE}, "pairs", "float32", device="cpu")
    with pytest.raises(ValueError, match="K and V in every layer"):
        import_module("kvbench.peers.hf").converted(shared)


class Broken:
    """A runner whose library was built for something else."""

    def __init__(self, *found):
        raise RuntimeError("Library libcublas.so.12 is not found\nsecond line")


class BrokenLater(Broken):
    """The same, found out when it is first used."""

    def __init__(self, *found):
        pass

    def __call__(self, mark):
        raise ValueError("This package was not compiled with CUDA support")


class Full(Broken):
    """A runner that the device has no room for."""

    def __init__(self, *found):
        raise RuntimeError("CUDA failed with error: can't allocate memory")


@pytest.mark.parametrize(
    "kind,error,line",
    [
        (Broken, "not measured", "ctranslate2 does not run on cpu here: Library libcublas.so.12"),
        (BrokenLater, "not measured", "not compiled with CUDA support"),
        (Full, "out of memory", "can't allocate memory"),
    ],
)
def test_a_peer_that_does_not_run_here_has_a_row_that_says_why(kind, error, line, monkeypatch):
    monkeypatch.setitem(sys.modules, "kvbench.peers.ct2", SimpleNamespace(Peer=kind, LIBRARY="x"))
    monkeypatch.setitem(peers.PEERS["ctranslate2"], "needs", [])
    found = peer(CONFIG, "custom", "ctranslate2", **WHERE)
    record = out_of_memory_is_a_result(peers_bench.run, found)
    assert record["error"] == error and line in record["error_detail"]
    assert "\n" not in record["error_detail"] and "second line" not in record["error_detail"]
    (row,) = [r for r in runners.peer_rows([pool([record])]) if r["runner"] == "ctranslate2"]
    assert row["error"].startswith(error) and line in row["error"]


@pytest.fixture(scope="module")
def compared():
    """Pooled cells of v0 and v1, of a peer that is there and of one that is not."""
    versions = [
        pool(
            [
                latency.run(cell(CONFIG, "latency", "custom", v, **WHERE), None) | {"replicate": r}
                for r in (1, 2)
            ]
        )
        for v in ("v0", "v1")
    ]
    found = peer(CONFIG, "custom", "transformers-dynamic", **WHERE)
    there = [peers_bench.run(found, None) | {"replicate": r} for r in (1, 2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(peers.PEERS["ctranslate2"], "needs", ["no_such_module"])
        absent = peers_bench.run(peer(CONFIG, "custom", "ctranslate2", **WHERE), None)
    return [*versions, pool(there), pool([absent])]


def test_a_peers_cell_says_whose_tokens_it_gave_and_what_ran(compared):
    needs("transformers-dynamic")
    record = compared[2]
    assert record["tokens_equal"] and record["first_difference"] is None
    assert record["execution"] == "peer" and record["peer_library"].startswith("transformers ")
    assert record["tpot_ms_median"] > 0 and len(record["step_ms_median"]) == 6


def test_runners_stand_in_one_table_and_one_figure(compared, tmp_path):
    needs("transformers-dynamic")
    publish(runners.table(compared, "peers"), tmp_path / "t.md", tmp_path / "t.csv")
    rows = runners.peer_rows(compared)
    assert [row["runner"] for row in rows] == ["v0", "v1", "transformers-dynamic", "ctranslate2"]
    assert rows[1]["speedup"] == 1 and rows[2]["tokens"] == "those of v1"
    assert rows[3]["error"] == "not installed: no no_such_module" and "speedup" not in rows[3]
    style.save(peers_figure.draw(compared), tmp_path / "f.svg")
    drawn = (tmp_path / "f.svg").read_text()
    assert all(name in drawn for name in ("dense (v1)", "transformers-dynamic", "not installed"))


def test_peers_take_their_turn_in_the_blocks_of_the_versions():
    order = sample_queue(CONFIG)
    first, second = CONFIG["peers"]
    where = {"preset": "custom", "batch": "1", "T": "6", "replicate": "2"}
    block = {order[queue_key("latency", **where, version=v)] for v in CONFIG["versions"]}
    block |= {order[queue_key("peers", **where, peer=name)] for name in (first, second)}
    assert max(block) - min(block) == len(block) - 1


def test_first_differences_are_counted_from_the_first_generated_token():
    import torch

    ours = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 4]])
    theirs = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 9]])
    assert peers_bench.first_difference(ours, ours, 2) is None
    assert peers_bench.first_difference(ours, theirs, 2) == 1
    with pytest.raises(ValueError, match="returned"):
        peers_bench.first_difference(ours, theirs[:, :3], 2)


def test_ways_to_run_a_step_are_compared(tmp_path):
    found = []
    for mode, faster in (("eager-torch", 1), ("eager-native", 4)):
        for version in ("v1", "v2"):
            one = execution(CONFIG, "custom", "eager-torch", version, **WHERE).replace(mode=mode)
            two = [latency.run(one, None) | {"replicate": r} for r in (1, 2)]
            for sample in two:  # as in a queue, whose rounds follow one another
                began = f"2026-01-05T10:0{sample['replicate']}:0{faster}+00:00"
                sample["machine_state"]["began_at"] = began
            for run in (run for sample in two for run in sample["runs"]):
                run["device_ms"], run["ttft_ms"] = 30.0 / faster + 1, 1.0  # five steps
            found.append(pool(two) | {"kernel": mode.split("-")[1]})
    rows = runners.execution_rows(found)
    assert [row["step_ms"] for row in rows] == pytest.approx([6, 1.5, 6, 1.5])
    assert rows[1]["ran"] == "eager, native" and rows[1]["speedup"] == pytest.approx(4)
    later = [{**cell, "processes": cell["processes"][1:]} for cell in found[2:]]
    alone = runners.execution_rows(
        [*({**c, "processes": c["processes"][:1]} for c in found[:2]), *later]
    )
    assert "no replicate in common" in alone[1]["remark"] and "speedup" not in alone[1]
    publish(runners.table(found, "executions"), tmp_path / "t.md", tmp_path / "t.csv")
    style.save(executions.draw(found), tmp_path / "f.svg")
    drawn = (tmp_path / "f.svg").read_text()
    assert all(name in drawn for name in ("eager, native", "eager, torch", "int8", "1.5"))


def test_modes_are_those_of_the_device():
    assert "graph-triton" in modes(CONFIG | {"device": "cuda"})
    assert not any("graph" in mode for mode in modes(CONFIG))
    assert modes(CONFIG | {"executions": ["compile-torch"]}) == ["compile-torch"]
    found = execution(CONFIG, "custom", "graph-triton", "v2", **WHERE)
    assert (found.execution, found.kernel, found.mode) == ("graph", "triton", "graph-triton")
