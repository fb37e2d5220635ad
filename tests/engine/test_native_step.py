"""A decode step in one native call: the logits and the rows of the same step in many."""

import pytest
import torch
from stored import stored
from test_generate import prompts, small_model
from test_native_model import APART, cell_of, packed

from kvbench.bench import decode
from kvbench.caches import make
from kvbench.engine import native_step
from kvbench.engine.backend import settle
from kvbench.engine.fast_cache import with_native_attention
from kvbench.engine.packed_linear import FEW, pack
from kvbench.kernels import reference
from kvbench.models import gpt2, llama

BOTH = pytest.mark.parametrize("arch", [gpt2, llama], ids=["gpt2", "llama"])


FORMATS = {
    "ring": {"keys": "dense", "values": "dense", "window": 6, "sinks": 2},
    "k8v4": {"keys": "int8", "values": "int4", "dense_layers": [0]},
    "fp8": {"keys": "fp8_e4m3", "values": "dense"},
    "q8_0, groups": {"keys": "q8_0", "values": {"type": "int4", "group": 32, "scale_type": "fp16"}},
}


def caches(model, choice, name, batch, tokens=40):
    """The same cache twice: read by steps in many calls, and in one."""
    like = model.lm_head.weight
    many, one = (
        with_native_attention(
            make(FORMATS.get(name) or stored(name), model.config, batch, tokens, like),
            choice.native,
        )
        for _ in "ab"
    )
    assert bool(one.rings) == (name == "ring")
    assert native_step.bind(model, one, choice.native) is None
    return many, one


@BOTH
@pytest.mark.parametrize("dtype", APART, ids=str)
@pytest.mark.parametrize("cache_name", ["dense", "int8", "int4", *FORMATS])
@pytest.mark.parametrize("batch", [1, 3])
def test_one_call_gives_the_logits_of_many(choice, arch, dtype, cache_name, batch):
    heads = {"n_kv_head": 1} if arch is llama else {}
    model = packed(small_model("pairs", 4, dtype, arch, n_head=2, **heads), choice)
    many, one = caches(model, choice, cache_name, batch)
    tokens = prompts(batch, 30)
    # A code on the edge between two may fall to either side.
    apart = APART[dtype] if cache_name in ("dense", "ring") else max(2e-2, APART[dtype])
    for part in tokens.split([7, *[1] * 23], 1):
        found, expected = model(part, one).float(), model(part, many).float()
        assert (found - expected).norm() <= apart * expected.norm()
    assert one.length == many.length == 30
    for ours, theirs in zip(one.storages(), many.storages(), strict=True):
        moved = (ours.float() - theirs.float()).abs()
        if ours.dtype is torch.int8:
            assert moved.max() <= 1 and (moved > 0).float().mean() <= 2e-3 + 60 * APART[dtype] ** 2
        elif ours.is_floating_point() and ours.itemsize > 1:
            assert moved.norm() <= apart * theirs.float().norm()


@pytest.mark.parametrize("name, quantise", [("int8", "quantise_int8"), ("int4", "quantise_int4")])
def test_codes_are_bit_for_bit_the_reference_s(choice, name, quantise):
    model = packed(small_model(n_head=2), choice)
    dense, coded = (caches(model, choice, cache, 2)[1] for cache in ("dense", name))
    for token in prompts(2, 12).split(1, 1):
        model(token, dense)
        model(token, coded)
    for rows, codes, scales in zip(dense.rows(0), coded.rows(0), coded.rows(0)[2:], strict=False):
        expected, scale = getattr(reference, quantise)(rows[:, :, :12])
        assert torch.equal(codes[:, :, :12], expected) and torch.equal(scales[:, :, :12], scale)


@pytest.mark.parametrize("dtype", APART, ids=str)
@pytest.mark.parametrize("layer_map", ["own", "pairs"])
def test_heads_with_norms_and_layers_without_positions(choice, dtype, layer_map):
    heads = {"n_head": 4, "n_kv_head": 2, "head_dim": 32, "n_embd": 64}
    shape = heads | {"qk_norm": "head", "no_rope": [1], "norm_eps": 1e-6, "qkv_bias": True}
    model = small_model(layer_map, 4, dtype, llama, **shape)
    for name, parameter in model.named_parameters():
        if name.endswith(("_norm.weight", "c_attn.bias")):
            torch.nn.init.normal_(parameter, 1.0, 0.5)
    model = packed(model, choice)
    many, one = caches(model, choice, "dense", 2)
    for part in prompts(2, 20).split(1, 1):
        found, expected = model(part, one).float(), model(part, many).float()
        assert (found - expected).norm() <= APART[dtype] * expected.norm()


def test_widths_that_fill_no_vector_and_heads_of_their_own(choice):
    model = small_model(arch=llama, n_head=2, n_kv_head=2, head_dim=32, n_embd=78, tied=False)
    model = packed(model, choice)
    many, one = caches(model, choice, "dense", 2)
    for part in prompts(2, 9).split(1, 1):
        torch.testing.assert_close(model(part, one), model(part, many), rtol=1e-4, atol=1e-5)


def test_bad_tokens_and_a_full_cache_are_refused(choice):
    model = packed(small_model(n_head=2), choice)
    cache = caches(model, choice, "dense", 1)[1]
    for token in (-1, 211):
        with pytest.raises(IndexError, match="vocabulary"):
            model(torch.tensor([[token]]), cache)
    with pytest.raises(ValueError, match=r"\(2, 1\) tokens after 0"):
        model(prompts(2, 1), cache)
    cache.advance(cache.capacity)
    with pytest.raises(ValueError, match=f"after {cache.capacity}; allowed"):
        model(prompts(1, 1), cache)


@pytest.mark.parametrize(
    "settings, what",
    [
        ({"activation": "gelu"}, "activation gelu"),
        ({"parallel": True}, "parallel halves"),
        ({"rope_share": 0.5}, "rotary positions in a GPT-2"),
    ],
)
def test_what_it_does_not_compute_runs_in_many_calls_and_says_why(library, settings, what):
    asked = cell_of("decode", "v2", depth=9)
    asked = asked.replace(model_config=asked.model_config | settings, steps=2)
    record = decode.run(asked, None, str(library))
    assert (record["execution"], record["kernel"]) == ("eager", "native")
    assert what in record["kernel_reason"]


def test_rows_that_the_kernels_do_not_read_and_many_sequences_run_in_many_calls(
    choice,
    monkeypatch,
):
    model = small_model(n_head=4)  # heads of 16: an int4 row is too short
    pack(model, choice)
    like = model.lm_head.weight
    turned = {"keys": "int8", "values": "int8", "rotate": True}
    for storage, reason in ((stored("int4"), "do not read"), (turned, "rotation of rows")):
        cache = with_native_attention(make(storage, model.config, 2, 30, like), choice.native)
        assert reason in native_step.bind(model, cache, choice.native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    model = packed(small_model(n_head=2, dtype=torch.bfloat16), choice)
    like = model.lm_head.weight
    for batch, reason in ((FEW, None), (FEW + 1, "matrix units")):
        cache = with_native_attention(make("dense", model.config, batch, 8, like), choice.native)
        said = native_step.bind(model, cache, choice.native)
        assert said is None if reason is None else reason in said


def test_what_is_asked_for_by_name_runs(library):
    asked = cell_of("decode", "v2", depth=9).replace(steps=2)
    for execution, ran in (("auto", "step"), ("step", "step"), ("eager", "eager")):
        record = decode.run(asked.replace(execution=execution), None, str(library))
        assert (record["execution"], record["kernel"], record["kernel_reason"]) == (
            ran,
            "native",
            None,
        )
    step = asked.replace(execution="step")
    for where, how in (("cuda", {}), ("cpu", {"kernel": "torch"})):
        with pytest.raises(RuntimeError, match="execution: step"):
            settle(step.replace(**how), where, str(library))
    with pytest.raises(RuntimeError, match="execution: step, but no library"):
        settle(step, "cpu", None)
