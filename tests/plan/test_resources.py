"""What a scheduler is asked for grows with what a cell does, and holds what it measured."""

import pytest

from kvbench.costs import forward as costs
from kvbench.job import partners as asked
from kvbench.plan import partners, resources
from kvbench.plan.config import load_schema, resolve
from kvbench.presets import PRESETS

CONFIG = resolve({"device": "cpu"}, load_schema())
SMALL = {"preset": "gpt2", "version": "v1", "batch": "1", "T": "8"}


@pytest.mark.parametrize("more", [{"preset": "gpt2-xl"}, {"batch": "64"}, {"T": "1000"}])
def test_a_larger_cell_asks_for_more_memory_and_no_less_time(more):
    larger = SMALL | more
    assert resources.memory_mb(CONFIG, larger) > resources.memory_mb(CONFIG, SMALL)
    assert resources.minutes(CONFIG, larger) >= resources.minutes(CONFIG, SMALL)


def test_recomputing_asks_for_more_time_than_caching():
    long = SMALL | {"T": "512"}
    assert resources.minutes(CONFIG, long | {"version": "v0"}) > 2 * resources.minutes(CONFIG, long)


def test_a_sample_has_time_for_what_is_measured_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sample = "results/mine/samples/latency/gpt2/v2/B1/T512/r1.json"
    where = SMALL | {"version": "v2", "T": "512"}
    alone = partners.minutes(CONFIG, where, sample)
    assert alone == resources.minutes(CONFIG, where)
    asked.write(sample, [{"cell": {"version": "v0"}}, {"cell": {"version": "v1"}}])
    others = [resources.minutes(CONFIG, where | {"version": version}) for version in ("v0", "v1")]
    assert partners.minutes(CONFIG, where, sample) == alone + sum(others)


@pytest.mark.parametrize("preset", PRESETS)
def test_memory_holds_the_weights_twice_and_the_interpreter(preset):
    owner = range(PRESETS[preset]["n_layer"])
    weights = costs.weight_bytes(PRESETS[preset], owner, "float32")
    assert resources.memory_mb(CONFIG, SMALL | {"preset": preset}) * 1e6 > 2 * weights + 1e9


def test_a_node_to_itself_on_the_cpu_a_gpu_on_cuda():
    assert (resources.gpus(CONFIG), resources.slurm_extra(CONFIG)) == (0, "--exclusive")
    cuda = CONFIG | {"device": "cuda"}
    assert (resources.gpus(cuda), resources.slurm_extra(cuda)) == (1, "")
