"""Keys with a huge bias: codes of the keys lose what codes of the rest keep."""

import pytest
import torch
from torch.nn import functional as F

from kvbench.bench.quality.one_forward import cached_logits
from kvbench.engine.generate import Sampler, generate
from kvbench.models.build import build

SIZES = {"n_layer": 2, "n_head": 4, "n_embd": 128, "block_size": 256, "vocab_size": 97}
SHAPES = {
    "gpt2": {"arch": "gpt2", **SIZES},
    "qwen2": {"arch": "llama", **SIZES, "n_kv_head": 2, "n_inner": 96, "qkv_bias": True},
    "pythia": {"arch": "gpt2", **SIZES, "rope_share": 0.5},
}
PARTS = {"int8": {"keys": "int8", "values": "int8"}}
PARTS["int4, by channel"] = {"keys": {"type": "int4", "scale": "channel"}, "values": "int8"}
PARTS["int8, centred"] = {**PARTS["int8"], "centred": True}
PARTS["q8_0, rotated"] = {"keys": "q8_0", "values": "int8", "rotate": True}
PARTS["fp8, not everywhere"] = {"keys": "fp8_e4m3", "values": "dense", "dense_layers": [-1]}


def biased(arch, size=400.0):
    """A model that attends sharply, some channels of whose keys are large at every token."""
    model = build(SHAPES[arch], "own", "float32", device="cpu")
    torch.manual_seed(0)
    for key, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=0.4 if "wte" in key or "lm_head" in key else 0.12)
        elif "c_attn" in key:
            parameter.zero_()
    nkv, hs = SHAPES[arch].get("n_kv_head", 4), 32
    for block in model.blocks():
        keys = block.attn.c_attn.bias.view(-1, hs)[4 : 4 + nkv]
        keys[:, -2:] = torch.tensor([size, -size])  # the slowest pair, or one that is not turned
        keys[:, 0] = size / 400  # and a fast one
    return model


def perplexity(model, storage, ids):
    logits = cached_logits(model, storage, ids[:, :-1]).float()
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).exp().item()


@pytest.mark.parametrize("arch", SHAPES)
def test_int8_keys_lose_and_the_split_keeps_perplexity(arch):
    model = biased(arch)
    prompt = torch.randint(97, (4, 2), generator=torch.Generator().manual_seed(1))
    cache = model.cache_of("dense", 4, 200)
    ids = generate(model, prompt, 190, cache, Sampler(1.0, None, 5))  # a text of its own
    plain = perplexity(model, "none", ids)
    assert plain < 60  # of 97 ids: the model knows something of it
    assert perplexity(model, PARTS["int8"], ids) > 1.05 * plain
    split = perplexity(model, {**PARTS["int8"], "key_bias": "split"}, ids)
    assert split == pytest.approx(plain, rel=0.01)


@pytest.mark.parametrize("arch", SHAPES)
@pytest.mark.parametrize("parts", PARTS)
def test_decoding_with_a_split_bias_is_one_forward(arch, parts):
    model, storage = biased(arch, 4.0), {**PARTS[parts], "key_bias": "split"}
    ids = torch.randint(97, (2, 150), generator=torch.Generator().manual_seed(2))
    cache = model.cache_of(storage, 2, 150)
    found = torch.cat([model(x, cache, last_only=False) for x in ids.split([90, 1, 1, 58], 1)], 1)
    expected = cached_logits(model, storage, ids)
    tolerance = 0.05 if "rotate" in PARTS[parts] else 5e-3
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_a_cache_that_knows_no_bias_says_so():
    from kvbench.caches import make

    model, storage = biased("gpt2"), {**PARTS["int8"], "key_bias": "split"}
    cache = make(storage, model.config, 1, 10, model.lm_head.weight)
    with pytest.raises(ValueError, match="make the cache by the model"):
        model(torch.zeros(1, 3, dtype=torch.long), cache)
