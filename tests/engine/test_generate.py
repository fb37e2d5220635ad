"""Every cached version generates what its own uncached reference generates."""

import pytest
import torch
from stored import stored

from kvbench.caches import make
from kvbench.costs.layer_map import owners
from kvbench.engine.generate import Sampler, generate, greedy, overflow_steps
from kvbench.models import gpt2, llama

BOTH = pytest.mark.parametrize("arch", [gpt2, llama], ids=["gpt2", "llama"])


def small_model(layer_map="own", n_layer=3, dtype=torch.float32, arch=gpt2, **larger):
    torch.manual_seed(0)
    sizes = {"n_head": 4, "n_embd": 64, "block_size": 48, "vocab_size": 211}
    sizes |= {"n_kv_head": 2, "n_inner": 96} if arch is llama else {}
    config = arch.Config(n_layer, **(sizes | larger), owner=tuple(owners(layer_map, n_layer)))
    model = arch.Model(config).to(dtype).requires_grad_(False).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=0.3 if "wte" in name else 0.12)
    return model


def run(model, cache_name, prompt, n, pick=greedy):
    cache = make(
        stored(cache_name), model.config, len(prompt), prompt.size(1) + n, model.lm_head.weight
    )
    return generate(model, prompt, n, cache, pick)


def prompts(batch, length):
    return torch.randint(211, (batch, length), generator=torch.Generator().manual_seed(batch))


class Forgetful:
    """A cache of another kind made uncached: every step starts from nothing."""

    def __init__(self, cache):
        self.cache = cache

    def __getattr__(self, name):
        return getattr(self.cache, name)

    def advance(self, T):
        self.cache.reset()


@BOTH
@pytest.mark.parametrize("layer_map", ["own", "pairs", "triples"])
@pytest.mark.parametrize("n_layer", [1, 3, 4])
@pytest.mark.parametrize("batch", [1, 3])
def test_v1_equals_v0_token_for_token(arch, layer_map, n_layer, batch):
    model = small_model(layer_map, n_layer, arch=arch)
    prompt = prompts(batch, 5)
    assert torch.equal(run(model, "dense", prompt, 30), run(model, "none", prompt, 30))


@BOTH
@pytest.mark.parametrize("prompt_length", [1, 40, 48, 60])
def test_v1_equals_v0_past_block_size(arch, prompt_length):
    model = small_model(arch=arch)
    prompt = prompts(2, prompt_length)
    assert torch.equal(run(model, "dense", prompt, 20), run(model, "none", prompt, 20))


@BOTH
@pytest.mark.parametrize("layer_map", ["own", "pairs"])
@pytest.mark.parametrize("cache_name", ["dense", "int8"])
def test_a_cached_version_equals_its_uncached_reference(arch, cache_name, layer_map):
    model = small_model(layer_map, arch=arch)
    prompt = prompts(2, 7)
    cached = run(model, cache_name, prompt, 45)
    cache = make(stored(cache_name), model.config, 2, 48, model.lm_head.weight)
    assert torch.equal(cached, generate(model, prompt, 45, Forgetful(cache)))


@BOTH
@pytest.mark.parametrize("cache_name", ["dense", "int8"])
def test_chunked_prefill_gives_the_logits_of_one_forward(arch, cache_name):
    model = small_model("pairs", arch=arch)
    tokens = prompts(2, 20)
    whole = make(stored(cache_name), model.config, 2, 20, model.lm_head.weight)
    expected = model(tokens, whole, last_only=False)
    chunked = make(stored(cache_name), model.config, 2, 20, model.lm_head.weight)
    parts = [model(part, chunked, last_only=False) for part in tokens.split([1, 7, 4, 8], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=1e-5, atol=1e-5)


def test_steps_past_block_size_are_counted():
    assert overflow_steps(prompt_length=64, n=1024, block_size=1024) == 63
    assert overflow_steps(prompt_length=64, n=960, block_size=1024) == 0
    assert overflow_steps(prompt_length=2000, n=3, block_size=1024) == 3


def test_sampling_is_seeded():
    model = small_model()
    prompt = prompts(2, 5)
    first, again = (run(model, "dense", prompt, 12, Sampler(0.8, 20, seed=1)) for _ in range(2))
    other = run(model, "dense", prompt, 12, Sampler(0.8, 20, seed=2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_top_k_1_is_greedy():
    model = small_model()
    prompt = prompts(1, 5)
    assert torch.equal(
        run(model, "dense", prompt, 9, Sampler(1.0, 1)), run(model, "dense", prompt, 9)
    )


def test_marks_come_before_the_first_step_and_after_each_forward_and_pick():
    model, marks = small_model(), []
    cache = make("dense", model.config, 1, 10, model.lm_head.weight)
    generate(model, prompts(1, 4), 6, cache, mark=lambda: marks.append(cache.length))
    assert marks == [0, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]


def test_a_sequence_longer_than_block_size_is_refused():
    model = small_model()
    cache = make("none", model.config, 1, 1, model.lm_head.weight)
    with pytest.raises(ValueError, match="exceed block_size 48"):
        model(prompts(1, 49), cache)


@pytest.mark.parametrize("temperature", [1e-30, 1e-38, 1e-40, 5e-324])
@pytest.mark.parametrize("top_k", [None, 5])
def test_the_limit_of_a_low_temperature_is_greedy(temperature, top_k):
    logits = torch.randn(64, 101, generator=torch.Generator().manual_seed(3)) * 30
    for like in (logits, logits.bfloat16()):
        assert torch.equal(Sampler(temperature, top_k)(like), greedy(like))


def test_of_equal_logits_top_1_takes_the_first_as_greedy_does():
    logits = torch.zeros(32, 9)
    logits[:, 3:6] = 2.5
    assert (Sampler(0.7, 1)(logits) == 3).all() and torch.equal(
        greedy(logits), Sampler(0.7, 1)(logits)
    )


def test_an_unknown_sampling_setting_is_refused():
    with pytest.raises(ValueError, match="temperature"):
        Sampler(0.0)
    with pytest.raises(ValueError, match="top_k"):
        Sampler(1.0, 0)
