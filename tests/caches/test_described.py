"""Caches of random descriptions: bytes, errors, and one forward as decoding."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.caches import cache_class, causal_sdpa
from kvbench.caches.codecs import centroids, codec
from kvbench.costs.description import Description
from kvbench.costs.part import BLOCKS, CODEBOOK, CODES, FP8, DescriptionError, Part

HEADS = (32, 64, 128)
PLAIN = ("dense", "fp32", "bf16", "fp16", *BLOCKS)


@st.composite
def parts(draw, blocks=True):
    """A part of the description, as a study writes it."""
    kind = draw(st.sampled_from([*PLAIN, *CODES]))
    if kind in PLAIN:
        return kind
    scale = draw(st.sampled_from(["token", "token", "channel", "tensor"]))
    if (scale == "tensor" and kind not in FP8) or (
        scale == "channel" and (kind in FP8 or not blocks)
    ):
        scale = "token"
    written = {"type": kind, "scale": scale}
    if scale != "tensor":
        written["group"] = draw(st.sampled_from([0, 32, 64]))
        written["scale_type"] = draw(st.sampled_from(["fp32", "fp16"]))
    return written


@st.composite
def descriptions(draw):
    """A mapping that describes a cache."""
    written = {
        "keys": draw(parts()),
        "values": draw(parts()),
        "rotate": draw(st.sampled_from([False, True, "folded"])),
        "dense_layers": draw(st.sampled_from([[], [0], [-1], [0, -1], [1, 2]])),
        "window": draw(st.sampled_from([None, None, 20, 60])),
        "centred": draw(st.sampled_from([False, False, True])),
    }
    if written["window"]:
        written["sinks"] = draw(st.sampled_from([0, 4]))
    if draw(st.integers(0, 5)) == 0:
        written |= {"rotate": True, "values": CODEBOOK}
    return written


@st.composite
def made(draw):
    """A description that is implemented, at a head size that it takes."""
    while True:
        written, size = draw(descriptions()), draw(st.sampled_from(HEADS))
        try:
            description = Description.of(written)
            description.check_head(size)
        except DescriptionError:
            continue
        return description, size


def cache_of(description, size, capacity, heads=2, batch=1, dtype=torch.float32, windows=()):
    kind = cache_class(description.data())
    return kind([0, 1, 2], batch, heads, size, capacity, dtype, "cpu", windows=windows, n_layer=3)


def by_hand(part, size, itemsize):
    """(bytes of a row, bytes of a block of scales), from the layouts in words."""
    floats = {"dense": itemsize, "fp32": 4, "bf16": 2, "fp16": 2}
    if part.type in floats:
        return size * floats[part.type], 0
    if part.type in BLOCKS:  # llama.cpp: d fp16 and 32 bytes; d and 16; d, m, 4 and 16
        return size // 32 * {"q8_0": 2 + 32, "q4_0": 2 + 16, "q5_1": 2 + 2 + 4 + 16}[part.type], 0
    codes = size // 2 if part.type in ("int4", CODEBOOK) else size
    each = 4 if part.scale_type == "fp32" else 2
    if part.scale == "channel":
        return codes, 2 * size * each
    if part.scale == "tensor":
        return codes, 0
    return codes + (size // part.group if part.group else 1) * each, 0


@settings(max_examples=300, deadline=None)
@given(
    one=made(),
    capacity=st.integers(1, 200),
    heads=st.integers(1, 3),
    batch=st.integers(1, 2),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_storages_are_the_closed_form_and_the_sum_by_hand(one, capacity, heads, batch, dtype):
    description, size = one
    cache = cache_of(description, size, capacity, heads, batch, dtype)
    layout = cache_class(description.data()).layout(size, dtype.itemsize)
    expected = sum(layout.at(i, 3).reserved(capacity) for i in range(3))
    assert cache.reserved_bytes() == batch * heads * expected
    apart = {i % 3 for i in description.dense_layers}
    rows = capacity
    if description.window is not None:
        rows = min(capacity, description.window + description.sinks)
    (k, k_block), (v, v_block) = (
        by_hand(part, size, dtype.itemsize) for part in (description.keys, description.values)
    )
    whole, block = size * dtype.itemsize, description.keys.block or description.values.block
    if description.centred:
        coded = max(0, rows - 64)
        each = min(rows, 64) * 2 * whole + coded * (k + v) + (8 * size if coded else 0)
    elif block:
        settled = -(-rows // block) - 1
        each = settled * (k_block + v_block)
        for part, row in ((description.keys, k), (description.values, v)):
            in_blocks = settled * block * row + min(rows, block) * whole
            each += in_blocks if part.block else rows * row
    else:
        each = rows * (k + v)
    in_all = len(apart) * rows * 2 * whole + (3 - len(apart)) * each
    assert cache.reserved_bytes() == batch * heads * in_all
    assert cache.used_bytes() == 0


def attended(cache, q, k, v, chunks):
    out = []
    for part in zip(*(x.split(chunks, 2) for x in (q, k, v)), strict=True):
        for layer in range(3):
            cache.update(layer, part[1], part[2])
        out.append(torch.stack([cache.attend(layer, part[0]) for layer in range(3)]))
        cache.advance(part[0].size(2))
    return torch.cat(out, 3)


@settings(max_examples=60, deadline=None)
@given(one=made(), windows=st.sampled_from([(), (0, 50, 0)]))
def test_one_forward_is_decoding_in_chunks(one, windows):
    description, size = one
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(1, 4, 140, size, generator=draw)
    k, v = torch.randn(2, 1, 2, 140, size, generator=draw)
    k[..., 3] *= 8
    whole = attended(cache_of(description, size, 192, windows=windows), q, k, v, [140])
    held = cache_of(description, size, 192, windows=windows)
    decoded = attended(held, q, k, v, [1, 40, 1, 1, 25, 64, 7, 1])
    # A code may turn on how a product of a rotation was rounded: one step of one number.
    tolerance = 0.05 if description.rotate else 1e-4
    torch.testing.assert_close(decoded, whole, rtol=tolerance, atol=tolerance)
    layout = cache_class(description.data()).layout(size, 4)
    expected = sum(layout.at(i, 3, windows[i] if windows else 0).bytes(140) for i in range(3))
    assert held.used_bytes() == 2 * expected <= held.reserved_bytes()


BOUNDS = {  # largest error of a number over the largest of its row or group
    "int8": 0.51 / 127, "int4": 0.51 / 7, "fp8_e4m3": 1 / 16, "fp8_e5m2": 1 / 8,
    "q8_0": 0.52 / 127, "q4_0": 1.01 / 8, "q5_1": 1.05 / 31, "fp16": 2**-11, "bf16": 2**-8,
}  # fmt: skip


STEPS = [(kind, 0, "fp32") for kind in BOUNDS]
STEPS += [(kind, group, "fp32") for kind in CODES for group in (32, 64)]
STEPS += [(kind, group, "fp16") for kind in CODES for group in (0, 32, 64)]


@pytest.mark.parametrize("kind, group, scale_type", STEPS)
def test_numbers_err_by_a_step_at_most(kind, group, scale_type):
    torch.manual_seed(5)
    of = codec(Part(kind, group=group, scale_type=scale_type), 64, torch.float32)
    x = torch.randn(2, 3, 50, 64) * torch.logspace(-2, 2, 50)[:, None]
    x[0, 0, 0] = 0
    stored = of.encode(x)
    found, scale = of.numbers(stored), of.scale(stored)
    found = found if scale is None else found * scale.unsqueeze(-1)
    width = group or (32 if kind in BLOCKS else 64)
    largest = x.unflatten(-1, (-1, width)).abs().amax(-1, keepdim=True)
    reach = 2 * largest if kind == "q5_1" else largest
    error = (found - x).unflatten(-1, (-1, width)).abs()
    slack = 2**-10 * largest if scale_type == "fp16" or kind in BLOCKS else 0
    assert (error <= BOUNDS[kind] * reach + slack).all()
    assert (found[0, 0, 0] == 0).all()


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_are_llama_cpp_s_numbers(kind):
    """Against gguf, which quantises as llama.cpp's reference does."""
    gguf = pytest.importorskip("gguf")
    x = torch.randn(1, 2, 40, 64, generator=torch.Generator().manual_seed(3))
    x[0, 0, 3], x[0, 0, 4, :32] = 0, 1.5
    theirs = gguf.GGMLQuantizationType[kind.upper()]
    packed = gguf.quants.quantize(x.numpy(), theirs)
    assert packed.shape[-1] == Part(kind).row_bytes(64, 4)
    of = codec(Part(kind), 64, torch.float32)
    found = of.numbers(of.encode(x))
    expected = torch.from_numpy(gguf.quants.dequantize(packed, theirs))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_codebook_s_numbers_are_the_means_of_their_cells_and_keep_a_row_s_norm():
    for size in (32, 64, 128, 256):
        levels = centroids(size)
        torch.testing.assert_close(levels, -levels.flip(0))
        row = torch.nn.functional.normalize(
            torch.randn(200_000, size, generator=torch.Generator().manual_seed(size)), dim=-1
        )[:, 0].contiguous()
        cell = torch.bucketize(row, (levels[1:] + levels[:-1]) / 2)
        means = torch.zeros(16).index_add_(0, cell, row) / torch.bincount(cell, minlength=16)
        assert ((means - levels).abs() * size**0.5 < 0.03)[1:-1].all()
    torch.manual_seed(6)
    x = torch.randn(1, 1, 9, 64) * torch.logspace(-3, 3, 9)[:, None]
    of = codec(Part(CODEBOOK), 64, torch.float32)
    stored = of.encode(x)
    found = of.numbers(stored) * of.scale(stored).unsqueeze(-1)
    torch.testing.assert_close(found.norm(dim=-1), x.norm(dim=-1))
    assert ((found - x).norm(dim=-1) < 0.25 * x.norm(dim=-1)).all()  # 0.1 in the mean


def test_fp8_of_a_tensor_saturates():
    of = codec(Part("fp8_e4m3", scale="tensor"), 32, torch.float32)
    x = torch.full((1, 1, 1, 32), 1e4)
    x[..., 0] = 1.0
    found = of.numbers(of.encode(x))
    assert found[..., 0] == 1 and (found[..., 1:] == 448).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keys_and_values_are_read_apart(dtype):
    """Values in codes beside whole keys give the attention of keys as they are."""
    torch.manual_seed(1)
    q, k, v = (torch.randn(1, 2, 40, 32).to(dtype) for _ in range(3))
    for written, exact in (
        ({"keys": "dense", "values": "int8"}, (k, None)),
        ({"keys": "int8", "values": "dense"}, (None, v)),
    ):
        cache = cache_of(Description.of(written), 32, 64, dtype=dtype)
        found = attended(cache, q, k, v, [40])[0]
        part = Part("int8")
        of = codec(part, 32, dtype)
        coded = [of.encode(x) for x in (k, v)]
        read = [of.numbers(c) * of.scale(c).unsqueeze(-1) for c in coded]
        keys, values = (x.float() if x is not None else r for x, r in zip(exact, read, strict=True))
        expected = causal_sdpa(q.float(), keys, values).to(dtype)
        torch.testing.assert_close(
            found, expected, rtol=1e-2, atol=1e-2 if dtype == torch.bfloat16 else 1e-5
        )


@given(one=made())
def test_a_description_is_what_its_data_say_and_its_name_tells_it_apart(one):
    description, _ = one
    assert Description.of(description.data()) == description
    other = dataclasses.replace(description, window=7, sinks=1)
    assert description.name() != other.name()
    assert len(description.name()) <= 80
