"""Triton's kernels over caches whose keys and values are each in a format of its own."""

import pytest
import torch

from kvbench.caches.codecs import codec
from kvbench.caches.coded import described
from kvbench.costs.description import Description
from kvbench.costs.part import Part
from kvbench.engine.static_view import kernel_rows
from kvbench.kernels.reference import decode_attention

bound = pytest.importorskip("kvbench.kernels.triton.bound", exc_type=ImportError)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = [pytest.mark.gpu] if DEVICE == "cuda" else []
PARTS = {
    "dense": Part(),
    "int8": Part("int8"),
    "int4": Part("int4"),
    "e4m3": Part("fp8_e4m3"),
    "e5m2": Part("fp8_e5m2"),
    "e4m3-tensor": Part("fp8_e4m3", scale="tensor"),
    "e5m2-tensor": Part("fp8_e5m2", scale="tensor"),
    "int8-f16": Part("int8", scale_type="fp16"),
    "int8-g32": Part("int8", group=32),
    "int8-g64-f16": Part("int8", group=64, scale_type="fp16"),
    "int4-g32": Part("int4", group=32),
    "int4-g32-f16": Part("int4", group=32, scale_type="fp16"),
    "int4-g64": Part("int4", group=64),
    "e4m3-g32": Part("fp8_e4m3", group=32),
    "e5m2-g32-f16": Part("fp8_e5m2", group=32, scale_type="fp16"),
    "q8_0": Part("q8_0"),
    "q4_0": Part("q4_0"),
}
# Every format as keys and as values, beside others of as many, more and fewer numbers a word.
PAIRS = list(zip(PARTS, [*list(PARTS)[2:], *list(PARTS)[:2]], strict=True))
HEADS, SIZE, CAPACITY = 1, 64, 24
# Outputs are of about 1. INT4 codes are read with an offset of 17 steps.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
CLOSE_INT4 = {"rtol": 1e-4, "atol": 1e-4}


def close(*parts):
    return CLOSE_INT4 if any(PARTS[one].type in ("int4", "q4_0") for one in parts) else CLOSE


def cache_of(keys, values, size=SIZE, batch=1, heads=HEADS, rotate=False):
    kind = described(Description(keys=PARTS[keys], values=PARTS[values], rotate=rotate))
    return kind([0], batch, heads, size, CAPACITY, torch.float32, DEVICE)


def rows(*shape, seed=0):
    """Random rows of magnitudes that differ, the same on every device."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=draw)
    return (x * torch.logspace(-1, 0.3, shape[-1])).to(DEVICE)


def same(ours, expected):
    """Storages equal bit for bit."""
    for mine, theirs in zip(ours.storages(), expected.storages(), strict=True):
        assert mine.dtype is theirs.dtype
        integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[mine.element_size()]
        assert torch.equal(mine.view(integers), theirs.view(integers))


def attention_of(cache, group=1):
    rows, blocks, turned = kernel_rows(cache, 0)
    return bound.Attention(group * HEADS, *rows, blocks=blocks, turned=turned)


def step(cache, attention, qkv, position, setting=None):
    """The kernel's output for one new token, which it appends."""
    out = torch.full((cache.batch, attention.heads * attention.size), torch.nan, device=DEVICE)
    at = torch.tensor([position], device=DEVICE)
    attention.launch(qkv, at, out, setting)()
    return out.view(cache.batch, attention.heads, attention.size)


def step_by_torch(cache, qkv, group, position):
    """The same by the cache's own codec and attention."""
    q, k, v = qkv.view(1, -1, cache.head_dim).split([group * HEADS, HEADS, HEADS], 1)
    cache.length = position
    cache.update(0, k.unsqueeze(2), v.unsqueeze(2))
    return cache.attend(0, q.unsqueeze(2)).squeeze(2)


@pytest.mark.parametrize(("keys", "values"), PAIRS)
def test_a_prompt_and_steps_are_stored_and_read_as_the_codecs_do(keys, values):
    ours, theirs = cache_of(keys, values), cache_of(keys, values)
    k, v = rows(2, 1, HEADS, 13, SIZE)
    store = bound.Quantise(*ours.kernel_rows(0), ours.blocks)
    store.store(k[:, :, :3], v[:, :, :3], 0)
    store.store(k[:, :, 3:], v[:, :, 3:], 3)
    theirs.update(0, k, v)
    same(ours, theirs)
    numbers = store.read(13, torch.float32)
    for of, held, found in zip(ours.codecs, (theirs.k[0], theirs.v[0]), numbers, strict=True):
        stored = [x[:, :, :13] for x in held]
        scale, expected = of.scale(stored), of.numbers(stored)
        expected = expected if scale is None else expected * scale.unsqueeze(-1)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    for group, splits, position in ((1, 1, 13), (3, 2, 14)):
        attention = attention_of(ours, group)
        setting = bound.AttentionSetting(1, 1, 0, splits, min(group, 2))
        qkv = rows(1, attention.width, seed=position)
        out = step(ours, attention, qkv, position, setting)
        expected = step_by_torch(theirs, qkv, group, position)
        torch.testing.assert_close(out, expected, **close(keys, values))
        same(ours, theirs)


@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize(("keys", "values"), [("int4-g32", "q8_0"), ("q4_0", "int8")], ids=str)
def test_head_sizes_that_are_no_power_of_two_pad_their_groups(size, keys, values):
    ours, theirs = (cache_of(keys, values, size) for _ in "ot")
    k, v = rows(2, 1, HEADS, 9, size)
    bound.Quantise(*ours.kernel_rows(0), ours.blocks).store(k, v, 0)
    theirs.update(0, k, v)
    same(ours, theirs)
    attention = attention_of(ours)
    qkv = rows(1, attention.width, seed=2)
    out = step(ours, attention, qkv, 9, bound.AttentionSetting(1, 1, 1, 1, 1))
    torch.testing.assert_close(out, step_by_torch(theirs, qkv, 1, 9), **close(keys, values))
    same(ours, theirs)


@pytest.mark.parametrize(
    ("keys", "values", "rotate"),
    [("int8", "int4", True), ("e4m3", "q8_0", True), ("int4-g32", "int8", "folded")],
)
def test_rows_are_turned_as_they_are_stored(keys, values, rotate):
    """Sums of a rotation round in another order: a code at a tie may fall either way."""
    for size in (64, 96):
        ours, theirs = (cache_of(keys, values, size, rotate=rotate) for _ in "ot")
        k, v = rows(2, 1, HEADS, 9, size)
        for cache in (ours, theirs):
            cache.update(0, k, v)
        for group, splits, position in ((1, 1, 9), (2, 2, 10)):
            attention = attention_of(ours, group)
            qkv = rows(1, attention.width, seed=position)
            setting = bound.AttentionSetting(1, 1, 0, splits, group)
            out = step(ours, attention, qkv, position, setting)
            expected = step_by_torch(theirs, qkv, group, position)
            torch.testing.assert_close(out, expected, rtol=2e-2, atol=2e-2)
            for of, mine, other in zip(
                ours.codecs, (ours.k[0], ours.v[0]), (theirs.k[0], theirs.v[0]), strict=True
            ):
                found, expected = (
                    of.numbers([x[:, :, position:] for x in p]) for p in (mine, other)
                )
                assert (found - expected).abs().max() <= 0.2 * expected.abs().max()
                assert ((found - expected).abs() > 1e-3 * expected.abs().max()).sum() <= 2


def test_rows_appended_one_by_one_are_those_of_a_prompt():
    for keys, values in (("q8_0", "int4"), ("e4m3", "q4_0")):
        whole, one_by_one = cache_of(keys, values), cache_of(keys, values)
        attention = attention_of(one_by_one)
        qkv = rows(7, attention.width)
        k, v = (x.view(7, HEADS, SIZE).transpose(0, 1)[None] for x in qkv.chunk(3, 1)[1:])
        bound.Quantise(*whole.kernel_rows(0), whole.blocks).store(k, v, 0)
        for position in range(7):
            step(one_by_one, attention, qkv[position : position + 1], position)
        same(one_by_one, whole)


def hard_rows(size):
    """Rows at the edges of formats: zeros, ties, subnormals, large numbers, both signs largest."""
    draw = torch.Generator().manual_seed(4)
    x = torch.randn(1, 2, 9, size, generator=draw)
    x[0, 0, 0] = 0
    x[0, 0, 1] = torch.arange(1, 1 + size) * 1e-45  # subnormal, and of a scale that is 0 in fp16
    x[0, 0, 2] *= 1e-6
    x[0, 0, 3] *= 1e9  # of a scale that is infinite in fp16
    x[0, 0, 4, :4] = torch.tensor([-8.0, 8.0, 0.5, -0.5])
    x[0, 0, 5, :4] = torch.tensor([8.0, -8.0, 1.5, 2.5])
    x[0, 0, 6] = torch.linspace(-448, 448, size)
    x[0, 0, 7] = torch.logspace(-12, 5, size)
    x[0, 1] *= torch.logspace(-6, 6, 9)[:, None]
    return x.to(DEVICE)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, of numbers that leave fp16
@pytest.mark.parametrize("part", [one for one in PARTS if one != "dense"])
def test_codes_of_hard_rows_are_the_codecs_bit_for_bit(part):
    ours, theirs = cache_of(part, part, heads=2), cache_of(part, part, heads=2)
    x = hard_rows(SIZE)
    theirs.update(0, x, -x)
    bound.Quantise(*ours.kernel_rows(0), ours.blocks).store(x, -x, 0)
    same(ours, theirs)


@pytest.mark.parametrize("part", ["e4m3", "e5m2"])
def test_every_fp8_code_is_read_as_torch_reads_it(part):
    cache = cache_of(f"{part}-tensor", f"{part}-tensor", 128)
    codes = torch.arange(256, dtype=torch.uint8).view(cache.k[0][0].dtype)
    finite = codes.float().isfinite()
    cache.k[0][0][0, 0, :2] = codes.view(2, 128).to(DEVICE)
    found, _ = bound.Quantise(*cache.kernel_rows(0)).read(2, torch.float32)
    assert torch.equal(found[0, 0].flatten()[finite].cpu(), codes.float()[finite])
    every = torch.randn(1, HEADS, 8, 128, generator=torch.Generator().manual_seed(5)) * 30
    again = cache_of(f"{part}-tensor", f"{part}-tensor", 128)
    bound.Quantise(*again.kernel_rows(0)).store(every.to(DEVICE), every.to(DEVICE), 0)
    of = codec(PARTS[f"{part}-tensor"], 128, torch.float32)
    assert torch.equal(again.k[0][0][:, :, :8].float().cpu(), of.encode(every)[0].float())


def test_what_the_kernels_do_not_read_is_refused_in_one_line():
    x = torch.zeros(1, HEADS, 4, SIZE, device=DEVICE)
    codes, scale = x.to(torch.int8), torch.zeros(1, HEADS, 4, device=DEVICE)

    def refused(*words, **changes):
        given = {"k": x, "v": x} | changes
        with pytest.raises(ValueError) as caught:
            bound.Attention(HEADS, **given)
        assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words)

    refused("v_scale", "needs scales", v=codes)
    refused("k_scale", "takes no scales", k_scale=scale)
    refused("v_scale", "3 groups", v=codes, v_scale=torch.zeros(1, HEADS, 4, 3, device=DEVICE))
    refused("v_scale", "float32", v=codes, v_scale=scale.bfloat16())
    refused("blocks", v=codes, v_scale=scale, blocks=(False, True))
    refused("v:", "of k", v=x[:, :, :3].contiguous())


def test_keys_and_values_apart_equal_the_reference():
    """`kernels.reference`, which takes K and V apart as well, where each row has one scale."""
    cache = cache_of("int8", "e4m3")
    k, v = rows(2, 1, HEADS, 20, SIZE)
    cache.update(0, k, v)
    attention = attention_of(cache, 2)
    qkv = rows(1, attention.width, seed=3)
    out = step(cache, attention, qkv, 20)
    q = qkv[:, : 2 * HEADS * SIZE].view(1, -1, SIZE)
    k, v, *scales = cache.kernel_rows(0)
    expected = decode_attention(q, k, v, 21, torch.empty_like(q), *scales)
    torch.testing.assert_close(out, expected, **CLOSE)
