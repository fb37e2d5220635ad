"""The noise floor is v1's own, and a corrupted cache is seen where scores read it."""

import numpy as np
import pytest
import torch
from stored import stored

from kvbench.bench.quality.logits import compare
from kvbench.bench.quality.one_forward import cached_logits, logits_in_two, reverse_stored
from kvbench.bench.quality.paired import pair
from kvbench.bench.quality.sensitivity import Readings, places
from kvbench.caches import make
from kvbench.costs.description import Description
from kvbench.models.build import build

SHAPE = {"arch": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 96}
SHAPE |= {"vocab_size": 61}
CACHES = ("dense", "int8", "int4", "int4_channel", "int8_channel", "int4_centred")
CACHES += ("int4_hadamard", "window", "window_int4")


@pytest.fixture(scope="module")
def model():
    made = build(SHAPE, "own", "float32", device="cpu")
    made.get_parameter("transformer.wpe.weight").mul_(8)  # so that attention matters
    return made


IDS = torch.randint(61, (1, 41), generator=torch.Generator().manual_seed(3))


def read(model, cache_name, windows=1):
    readings = Readings(model, model, cache_name, windows)
    for n in range(windows):
        readings.window = n
        readings.add(IDS[0], 1, cached_logits(model, "none", IDS[:, :-1])[0])
    return readings.record(seed=0, of=windows, documents=[0] * windows)


@pytest.mark.parametrize("cache_name", CACHES)
def test_corrupted_codes_of_every_cache_move_the_scores(model, cache_name):
    cache_name = stored(cache_name)
    fed = IDS[:, :-1]
    whole = logits_in_two(model, cache_name, fed, 20)
    corrupted = logits_in_two(model, cache_name, fed, 20, corrupt=True)
    assert torch.equal(whole[:, :20], corrupted[:, :20])  # fed before anything was corrupted
    found = read(model, cache_name)["corrupted"]
    assert found["tokens"] == 20 and found["windows"] == 1
    honest = compare(*(x[0, 20:] for x in (cached_logits(model, "none", fed), whole)), IDS[0, 21:])
    assert found["kl"] > 3 * honest.kl.mean()


DESCRIBED = {
    "fp8": {"keys": "fp8_e4m3", "values": "fp8_e5m2"},
    "fp8 of a tensor": {"keys": {"type": "fp8", "scale": "tensor"}},
    "k8v4": {"keys": "int8", "values": "int4", "group": 32, "dense_layers": [0]},
    "q8_0 and q4_0": {"keys": "q8_0", "values": "q4_0"},
    "codebook": {"keys": "codebook4", "values": "codebook4", "rotate": True},
    "values alone": {"values": {"type": "int4", "scale": "channel"}},
}


@pytest.mark.parametrize("name", DESCRIBED)
def test_corrupted_codes_of_described_caches_move_the_scores(name):
    wide = build(SHAPE | {"n_embd": 128}, "own", "float32", device="cpu")  # heads of 64
    wide.get_parameter("transformer.wpe.weight").mul_(8)
    storage, fed = Description.of(DESCRIBED[name]).data(), IDS[:, :-1]
    found = read(wide, storage)["corrupted"]
    both = cached_logits(wide, "none", fed), logits_in_two(wide, storage, fed, 20)
    honest = compare(*(x[0, 20:] for x in both), IDS[0, 21:]).kl.mean()
    assert found["tokens"] == 20 and (found["kl"] is None or found["kl"] > 3 * honest)


def test_reversing_twice_gives_the_stored_numbers_back(model):
    cache = make("int8", model.config, 1, 40, model.lm_head.weight)
    model(IDS[:, :-1], cache)
    before = [tensor.clone() for tensor in cache.storages()]
    reverse_stored(cache)
    assert any(not torch.equal(a, b) for a, b in zip(before, cache.storages(), strict=True))
    reverse_stored(cache)
    assert all(torch.equal(a, b) for a, b in zip(before, cache.storages(), strict=True))


def test_v1_alone_has_a_noise_floor_and_no_cache_has_nothing_to_corrupt(model):
    found = read(model, "dense", windows=3)
    floor = found["noise_floor"]
    assert floor["windows"] == 3 and floor["tokens"] == 120 and floor["window"] == [0, 1, 2]
    assert floor["delta_p"]["rms"] < 1e-5 and floor["kl"]["max"] < 1e-5
    assert floor["flips"]["mean"] == 0 and len(floor["window_delta_nll"]) == 3
    assert "noise_floor" not in read(model, "int8")
    assert read(model, "none") == {}
    rounded = build(SHAPE, "own", "bfloat16", device="cpu")
    floor = read(rounded, "dense")["noise_floor"]
    assert 0 < floor["kl"]["mean"] < 1e-2  # two orders of summing in 8 bits


def test_the_same_path_twice_is_exactly_equal(model):
    logits = cached_logits(model, "dense", IDS[:, :-1])[0]
    found = pair([compare(logits, logits, IDS[0, 1:])], seed=0, of=1)
    assert found["kl"]["mean"] == found["kl"]["max"] == found["delta_p"]["rms"] == 0
    assert found["flips"]["mean"] == 0 and found["perplexity_ratio"]["ratio"] == 1


def test_the_tail_and_the_change_of_probability_are_those_of_all_tokens():
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(150) % 61
    logits = [torch.randn(2, 150, 61, generator=generator) for _ in range(8)]
    found = pair([compare(p, q, targets) for p, q in logits], seed=1, of=8)
    p, q = (torch.cat([both[i] for both in logits]).double().log_softmax(-1) for i in (0, 1))
    kl = (p.exp() * (p - q)).sum(-1).numpy()
    right = targets.repeat(8)[:, None]
    change = (q.exp() - p.exp()).gather(1, right).numpy()
    assert found["kl"]["p99"] == pytest.approx(np.percentile(kl, 99), rel=1e-5)
    assert found["kl"]["median"] == pytest.approx(np.median(kl), rel=1e-5)
    assert found["kl"]["max"] == pytest.approx(kl.max(), rel=1e-5)
    assert found["kl"]["p99_9"] is None  # of 1,200 tokens, one lies beyond it
    assert found["delta_p"]["rms"] == pytest.approx(np.sqrt(np.mean(change**2)), rel=1e-5)
    assert found["delta_p"]["low"] < found["delta_p"]["rms"] < found["delta_p"]["high"]
    assert found["flips"]["mean"] == pytest.approx(1 - found["top1_agreement"])
    assert found["flips"]["mean"] == (p.argmax(-1) != q.argmax(-1)).double().mean().item()


def test_windows_are_spread():
    assert (
        places(24, 2) == {0, 12} and places(3, 16) == {0, 1, 2} and places(64, 4) == {0, 16, 32, 48}
    )
