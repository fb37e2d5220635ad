"""Every cache, on both architectures: one forward is decoding, bytes are the closed form."""

import pytest
import torch
from stored import stored

from kvbench import versions
from kvbench.bench.quality.one_forward import cached_logits
from kvbench.caches import BLOCK, layout_of, make
from kvbench.caches.channel import quantise_channels
from kvbench.kernels.reference import widen
from kvbench.models import rotation
from kvbench.models.build import build

SIZES = {"n_layer": 2, "n_head": 4, "n_embd": 64, "block_size": 256, "vocab_size": 211}
SHAPES = {"gpt2": {"arch": "gpt2", **SIZES}}
SHAPES["llama"] = {"arch": "llama", **SIZES, "n_kv_head": 2, "n_inner": 96}
CACHES = dict.fromkeys(versions.cache_name(version) for version in versions.VERSIONS)
KEPT = [name for name in CACHES if name != "none"]


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """A window that a short sequence moves past."""
    for name in ("window", "window_int4"):
        line = versions.FORMATS[name] | {"window": 20}
        monkeypatch.setitem(versions.FORMATS, name, line)


def wide_awake(arch, layer_map="pairs", name=None):
    """A model whose attention is far from uniform, so that a wrong row shows.

    In float64, and its one owner of K/V is the first layer: no code hangs on how a sum was rounded.
    """
    found = {version: versions.fold(version) for version in versions.VERSIONS}
    model = build(SHAPES[arch], layer_map, "float32", device="cpu").double()
    torch.manual_seed(0)
    for key, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=0.3 if "wte" in key else 0.15)
    folds = {found[v] for v in found if versions.cache_name(v) == name} - {None}
    for each in folds:
        rotation.FOLDS[each](model)
    return model


def some_tokens(batch, length):
    return torch.randint(211, (batch, length), generator=torch.Generator().manual_seed(batch))


def decoded(model, name, tokens, chunks):
    """Logits of tokens fed in chunks."""
    cache = make(stored(name), model.config, len(tokens), tokens.size(1), model.lm_head.weight)
    parts = [model(part, cache, last_only=False) for part in tokens.split(chunks, 1)]
    return torch.cat(parts, 1)


@pytest.mark.parametrize("arch", SHAPES)
@pytest.mark.parametrize("name", KEPT)
def test_one_forward_is_token_by_token_decoding(arch, name):
    """Past two settled blocks, and past a window."""
    model, tokens = wide_awake(arch, "pairs", name), some_tokens(2, 2 * BLOCK + 9)
    found = cached_logits(model, stored(name), tokens)
    expected = decoded(model, name, tokens, [1] * tokens.size(1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", SHAPES)
@pytest.mark.parametrize("name", KEPT)
def test_chunks_of_any_size_are_one_forward(arch, name):
    model, tokens = wide_awake(arch, "pairs", name), some_tokens(1, 2 * BLOCK + 9)
    chunks = [1, 30, 33, BLOCK, 1, 1, 7]
    expected = cached_logits(model, stored(name), tokens)
    torch.testing.assert_close(decoded(model, name, tokens, chunks), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", KEPT)
def test_a_step_can_be_repeated(name):
    """A benchmark rewinds by one and decodes again: also where the step settles a block."""
    model, tokens = wide_awake("llama", "pairs", name), some_tokens(1, 2 * BLOCK + 1)
    cache = make(stored(name), model.config, 1, tokens.size(1), model.lm_head.weight)
    model(tokens[:, :-1], cache)
    steps = []
    for _ in range(3):
        cache.rewind(2 * BLOCK)
        steps.append(model(tokens[:, -1:], cache))
    expected = decoded(model, name, tokens, [1] * tokens.size(1))[:, -1:]
    for step in steps:
        torch.testing.assert_close(step, expected, rtol=1e-5, atol=1e-5)
    cache.reset()
    again = model(tokens, cache)
    torch.testing.assert_close(again, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in KEPT if "channel" in n or "window" in n])
def test_what_is_gone_cannot_be_rewound_to(name):
    model, tokens = wide_awake("gpt2"), some_tokens(1, 2 * BLOCK + 1)
    cache = make(stored(name), model.config, 1, tokens.size(1), model.lm_head.weight)
    model(tokens, cache)
    with pytest.raises(ValueError, match="cannot rewind to 40"):
        cache.rewind(40)


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_storages_are_the_closed_form_to_the_byte(name, dtype):
    model = wide_awake("llama", "pairs")
    heads = 1 * 3 * 2  # owning layers, batch, K/V heads
    for tokens in (BLOCK, 3 * BLOCK):
        cache = make(stored(name), model.config, 3, tokens, torch.zeros(1, dtype=dtype))
        layout = layout_of(stored(name), 16, dtype.itemsize)
        assert cache.reserved_bytes() == heads * layout.bytes(tokens)
        k, v = torch.randn(2, 3, 2, 50, 16).to(dtype)
        for layer in model.config.owning_layers:
            cache.update(layer, k, v)
        cache.advance(50)
        assert cache.used_bytes() == heads * layout.bytes(50) <= cache.reserved_bytes()


def test_bytes_of_a_head_of_64_by_hand(monkeypatch):
    monkeypatch.undo()
    expected = {  # K and V of 129 tokens in bfloat16: two settled blocks and one token
        "dense": 129 * 256,
        "int8": 129 * 136,
        "int4": 129 * 72,
        "int4_hadamard": 129 * 72,
        "int4_channel": 128 * (32 + 36) + 2 * 512 + (128 + 36),
        "int8_channel": 128 * (64 + 68) + 2 * 512 + (128 + 68),
        "int4_centred": 64 * 256 + 65 * 72 + 512,
        "window": 129 * 256,
        "window_int4": 129 * 72,
    }
    assert {name: layout_of(stored(name), 64, 2).bytes(129) for name in expected} == expected
    assert {name for name in KEPT} <= expected.keys()
    assert layout_of(stored("window"), 64, 2).bytes(4000) == 256 * 256


@pytest.mark.parametrize("bits", [4, 8])
def test_channels_err_by_half_a_step_of_their_own(bits):
    x = torch.randn(2, BLOCK, 16) * torch.logspace(-3, 3, 16) + torch.linspace(-50, 50, 16)
    x[..., 5] = 7.0  # a constant channel is exact
    codes, scale, offset = quantise_channels(x, bits)
    found = widen(codes) * scale.unsqueeze(1) + offset.unsqueeze(1)
    error = (found - x).abs().amax(1)
    step = (x.amax(1) - x.amin(1)) / (2**bits - 1)
    assert (error <= 0.5 * step + 1e-4).all() and (error[:, 5] == 0).all()


@pytest.mark.parametrize("name", ["int4", "int4_channel", "int4_centred", "window_int4"])
def test_an_exact_prompt_is_attended_to_before_it_is_stored(name):
    model, tokens = wide_awake("llama", "pairs", name), some_tokens(1, 100)
    found = cached_logits(model, stored(name), tokens, exact_prompt=90)
    plain, quantised = (cached_logits(model, stored(n), tokens) for n in ("none", name))
    torch.testing.assert_close(found[:, :90], plain[:, :90], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found[:, 90:], plain[:, 90:], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[:, 90:], quantised[:, 90:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", SHAPES)
def test_a_fold_changes_nothing_but_the_basis(arch):
    plain, folded = wide_awake(arch, "pairs"), wide_awake(arch, "pairs", "int4_hadamard")
    tokens = some_tokens(1, 40)
    outputs = {id(m): [] for m in (plain, folded)}
    logits = [cached_logits(m, "dense", tokens, outputs[id(m)]) for m in (plain, folded)]
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)
    for a, b in zip(*outputs.values(), strict=True):
        assert not torch.allclose(a, b, atol=1e-2)
        torch.testing.assert_close(rotation.unfolded(b, "values"), a.float(), rtol=1e-5, atol=1e-5)
