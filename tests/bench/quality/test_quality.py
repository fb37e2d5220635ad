"""What a cache does to a model is seen: token by token, by layer, by depth, and by probes."""

import broken_caches
import numpy as np
import pytest
import torch
from broken_caches import POSITIONS, TOKENS
from stored import stored

from kvbench.analysis.quality import calibration
from kvbench.bench.quality import probes
from kvbench.bench.quality.divergence import first_divergence
from kvbench.bench.quality.logits import ROWS, LayerError, by_depth, compare
from kvbench.bench.quality.one_forward import cached_logits
from kvbench.bench.quality.paired import pair
from kvbench.caches import make
from kvbench.engine.generate import generate
from kvbench.inputs.tokens import Tokens
from kvbench.models.build import build

SHAPE = {"arch": "gpt2", "n_layer": 3, "n_head": 2, "n_embd": 32, "block_size": 96}
SHAPE |= {"vocab_size": 61}


def random_model(layer_map="own"):
    return build(SHAPE, layer_map, "float32", device="cpu")


copier = pytest.fixture(broken_caches.copier)
broken = broken_caches.broken


def as_text(ids, prefix=()):
    """Ids as a tokenised text that begins its sequences with `prefix`."""
    return Tokens(ids, np.ones(2**16, np.uint8), prefix=np.array(prefix, np.int64))


def copy_accuracy(model, cache_name):
    text = np.arange(TOKENS * 2).astype(np.uint16) % TOKENS
    asked = {"copy": probes.probes(as_text(text), 2, POSITIONS, seed=0)["copy"]}
    found = probes.run(model, model, cache_name, asked)["copy"]
    assert found["accuracy_plain"] == 1
    return found["accuracy_cached"]


def test_a_whole_cache_copies_all(copier):
    assert copy_accuracy(copier, "dense") == copy_accuracy(copier, "int8") == 1


def test_two_swapped_rows_are_caught_by_the_copy_probe(copier, monkeypatch):
    def swap(k, v, layer):
        v[:, :, [5, 11]] = v[:, :, [11, 5]]
        return k, v

    lost = 1 - copy_accuracy(copier, broken(monkeypatch, swap))
    assert lost == pytest.approx(2 / (probes.SPAN - 1))


def test_a_wrong_scale_of_one_row_is_caught_by_the_copy_probe(copier, monkeypatch):
    def shrink(k, v, layer):
        v[:, :, 7] *= 0.01
        return k, v

    lost = 1 - copy_accuracy(copier, broken(monkeypatch, shrink))
    assert lost == pytest.approx(1 / (probes.SPAN - 1))


@pytest.mark.parametrize(("context", "longest"), [(2, 20), (64, 64), (1024, 256)])
def test_probes_are_no_longer_than_a_window_but_hold_a_needle(context, longest):
    made = probes.probes(as_text(np.arange(3000, dtype=np.uint16)), 2, context, seed=0)
    assert max(probe.ids.shape[1] for probe in made.values()) == longest
    assert all(probe.scored.any() for probe in made.values())


def test_probes_begin_as_the_tokenizer_begins_a_sequence_and_do_not_score_it():
    text = np.arange(3000, dtype=np.uint16)
    made, plain = (probes.probes(as_text(text, first), 2, 256, seed=0) for first in ([7], []))
    assert max(probe.ids.shape[1] for probe in made.values()) == 256
    for name, probe in made.items():
        assert (probe.ids[:, 0] == 7).all() and not probe.scored[:, 0].any()
        assert probe.scored.sum() == plain[name].scored.sum()


def test_probes_ask_for_what_stood_before():
    text = np.random.default_rng(0).integers(500, size=3000).astype(np.uint16)
    made = probes.probes(as_text(text), 4, 256, seed=3)
    again = probes.probes(as_text(text), 4, 256, seed=3)
    assert all(np.array_equal(made[name].ids, again[name].ids) for name in made)
    for ids, scored in zip(made["copy"].ids, made["copy"].scored, strict=True):
        assert np.array_equal(ids[scored], ids[1 : probes.SPAN])
    for ids, scored in zip(made["induction"].ids, made["induction"].scored, strict=True):
        followers = {a: b for a, b in ids[: probes.SPAN].reshape(-1, 2)}
        assert all(followers[ids[at - 1]] == ids[at] for at in np.flatnonzero(scored))
    asked = probes.KEY + probes.VALUE
    places = []
    for ids, scored in zip(made["needle"].ids, made["needle"].scored, strict=True):
        assert len(ids) == 256 and scored.sum() == probes.VALUE and scored[-1]
        rows = np.lib.stride_tricks.sliding_window_view(ids[:-asked], asked)
        places.append(int((rows == ids[-asked:]).all(1).nonzero()[0][0]))
    assert places == sorted(places) and places[0] < 64 < 192 < places[-1] + 64


def test_comparison_is_exact_and_independent_of_its_chunks():
    generator = torch.Generator().manual_seed(0)
    n = ROWS + 9
    plain, cached = torch.randn(2, n, 61, generator=generator)
    targets = torch.randint(61, (n,), generator=generator)
    found = compare(plain, cached, targets)
    p, q = (torch.distributions.Categorical(logits=x.double()) for x in (plain, cached))
    assert found.kl == pytest.approx(torch.distributions.kl_divergence(p, q).numpy(), abs=1e-5)
    assert found.nll_cached == pytest.approx(-q.log_prob(targets).numpy(), abs=1e-5)
    assert np.array_equal(found.agree, (plain.argmax(1) == cached.argmax(1)).numpy())
    same = compare(plain, plain, targets)
    assert not same.kl.any() and same.agree.all()


def test_the_pair_s_mean_is_over_tokens_and_its_interval_over_windows():
    generator = torch.Generator().manual_seed(0)
    sizes = [40] * 15 + [9]  # the text's last window is short
    found = [
        compare(*torch.randn(2, n, 61, generator=generator), torch.arange(n) % 61) for n in sizes
    ]
    record = pair(found, seed=1, of=len(found))
    delta = np.concatenate([one.nll_cached - one.nll_plain for one in found])
    assert record["delta_nll"]["mean"] == pytest.approx(delta.mean())
    assert record["delta_nll"]["low"] < delta.mean() < record["delta_nll"]["high"]
    assert record["perplexity_ratio"]["ratio"] == pytest.approx(np.exp(delta.mean()))
    assert record["kl"]["p99"] is None  # of 609 tokens, six lie beyond it
    depths = by_depth(found, [np.arange(n) for n in sizes])
    assert depths["depth"] == [0, 16, 32] and sum(depths["tokens"]) == sum(sizes)
    assert np.average(depths["delta_nll"], weights=depths["tokens"]) == pytest.approx(delta.mean())


@pytest.mark.parametrize(("cache", "layer_map"), [("int8", "own"), ("dense", "pairs")])
def test_first_divergence_is_where_decoding_really_leaves_v1(cache, layer_map):
    plain, model = random_model(), random_model(layer_map)
    for one in (plain, model):  # sharper, so that greedy decoding does not say one token for ever
        one.get_parameter("transformer.wpe.weight").mul_(8)
    prompts = torch.randint(61, (3, 8), generator=torch.Generator().manual_seed(2))
    found = first_divergence(plain, model, cache, prompts, 40)
    said = [
        generate(m, prompts, 40, make(stored(c), m.config, 3, 48, m.lm_head.weight))[:, 8:]
        for m, c in ((plain, "dense"), (model, cache))
    ]
    for row, first in zip((said[0] != said[1]), found["first"], strict=True):
        assert first == (row.nonzero()[0].item() if row.any() else None)
    assert first_divergence(plain, plain, "dense", prompts, 40)["first"] == [None] * 3


def test_an_error_is_seen_in_the_layer_that_makes_it(monkeypatch):
    def double(k, v, layer):
        return k, v * 2 if layer == 1 else v

    model = random_model()
    ids = torch.randint(61, (1, 50), generator=torch.Generator().manual_seed(2))
    plain, cached, exact = [], [], []
    cached_logits(model, "none", ids, plain)
    cached_logits(model, "dense", ids, exact)
    cached_logits(model, broken(monkeypatch, double), ids, cached)
    errors, none = LayerError(), LayerError()
    errors.add(plain, cached)
    none.add(plain, exact)
    assert errors.relative()[0] < 1e-6 and errors.relative()[1] == pytest.approx(1, abs=1e-5)
    assert errors.relative()[2] > 1e-3 and max(none.relative()) < 1e-6


def test_hub_gpt2_is_held_to_its_published_perplexity():
    made = {"pretrained": "gpt2", "stride": 1024, "context": 1024, "text": "wikitext-2"}
    made |= {"weights": "hub", "n_tokens": 287_643}
    of = {p: {"modes": {"teacher_forced": {"perplexity": p}}} for p in (29.95, 31.0)}
    assert calibration([made | of[29.95]]) == [
        "Calibration holds: 29.95 by plain forwards, published 29.94 (+0.03%)."
    ]
    assert "DOES NOT HOLD" in calibration([made | of[31.0]])[0]
    assert "Not calibrated" in calibration([made | of[29.95] | {"n_tokens": 1000}])[0]
    assert calibration([made | of[29.95] | {"text": "mini-wiki"}]) == []
