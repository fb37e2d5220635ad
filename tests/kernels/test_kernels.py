"""Native kernels against their reference, for every instruction set this processor has."""

import os
import platform
import re
from itertools import permutations, product
from pathlib import Path

import pytest
import torch
from guarded import at_the_end_of_memory

from kvbench.caches.attending import grouped, ungrouped
from kvbench.caches.codecs import codec, scores, weigh
from kvbench.costs.part import BLOCKS, Part
from kvbench.files import placeholder
from kvbench.inputs.build_kernels import build_or_say_why
from kvbench.kernels import reference
from kvbench.kernels.cpu import memory_account
from kvbench.kernels.cpu.bound import STREAMS
from kvbench.kernels.cpu.build import (
    FLAGS,
    ISAS,
    NEEDS,
    SOURCES,
    CompilerError,
    build,
    find_compiler,
    isas_here,
    run,
    source_sha256,
)
from kvbench.kernels.cpu.library import load
from kvbench.records.store import read_record

FP32, BF16 = torch.float32, torch.bfloat16
CLOSE = {FP32: {"rtol": 1e-5, "atol": 1e-5}, BF16: {"rtol": 2**-8, "atol": 1e-3}}  # half a step


@pytest.fixture
def native(isa, library):
    return load(library, isa)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="an x86 processor's flags")
def test_every_instruction_set_built_runs_where_the_processor_has_it(library):
    assert list(NEEDS) == list(ISAS)
    has = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)[1].split())
    for isa in read_record(library.with_suffix(".json"))["isas"]:
        if has >= NEEDS[isa]:
            assert load(library, isa).isa == isa
        else:
            refused(lambda isa=isa: load(library, isa), isa)
    assert load(library).isa in isas_here()


@pytest.mark.parametrize("isa", NEEDS)
def test_the_workflow_compiles_for_its_own_processor_and_two_to_fall_back_to(
    isa, tmp_path, monkeypatch
):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nflags\t\t: fpu {' '.join(sorted(NEEDS[isa]))}\n")
    assert set(isas_here(cpuinfo)) == {"portable", "avx2", isa}
    defined = [f"-DKVBENCH_{name.upper()}" for name in isas_here(cpuinfo)]
    flags = [*FLAGS, *defined, '-DKVBENCH_SOURCE=""', "-fsyntax-only", "-Wall", "-Werror"]
    run([find_compiler(), *flags, str(SOURCES / "dispatch.cpp")])
    monkeypatch.setenv("KVBENCH_EVERY_ISA", "1")
    assert isas_here(cpuinfo) == list(ISAS)
    monkeypatch.delenv("KVBENCH_EVERY_ISA")
    assert isas_here(tmp_path / "none") == list(ISAS)


def cache(kind, batch, heads, capacity, size):
    """K, V and their scales, as `Native.attention` takes them."""
    k, v = torch.randn(2, batch, heads, capacity, size)
    if kind in (FP32, BF16):
        return k.to(kind), v.to(kind), None, None
    (k, k_scale), (v, v_scale) = map(reference.quantise(kind), (k, v))
    return k, v, k_scale, v_scale


def both(native, q, n, k, v, k_scale=None, v_scale=None, scale=None):
    out = torch.full_like(q, torch.nan)
    native.attention(k, v, k_scale, v_scale, scale)(q, n, out)
    expected = torch.empty_like(q, dtype=FP32)
    return out, reference.decode_attention(q, k, v, n, expected, k_scale, v_scale, scale)


KINDS = {"fp32": FP32, "bf16": BF16, "int8": torch.int8, "int4": torch.uint8}
CODED = ("int8", "int4", "e4m3", "e5m2")
KINDS |= {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
# batch, K/V heads, query heads a group, head size, capacity, n
SHAPES = [
    (1, 1, 1, 32, 1, 1),
    (1, 12, 1, 64, 64, 2),
    (33, 2, 1, 64, 40, 15),
    (2, 1, 3, 128, 40, 16),
    (3, 2, 4, 64, 17, 17),
    (1, 1, 9, 96, 600, 531),
    (2, 2, 2, 256, 1100, 1024),
    (2, 3, 1, 64, 1100, 1027),
    (3, 2, 1, 192, 600, 67),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_decode_attention_equals_its_reference(native, kind, shape):
    torch.manual_seed(0)
    batch, kv_heads, group, size, capacity, n = shape
    stored = cache(KINDS[kind], batch, kv_heads, capacity, size)
    for dtype in (FP32, BF16):
        q = torch.randn(batch, group * kv_heads, size).to(dtype)
        out, expected = both(native, q, n, *stored)
        torch.testing.assert_close(out.float(), expected, **CLOSE[dtype])


@pytest.mark.parametrize("k_kind, v_kind", [*permutations(KINDS, 2)])
def test_keys_and_values_of_two_formats_are_read_apart(native, k_kind, v_kind):
    torch.manual_seed(4)
    for batch, kv_heads, group, size, capacity, n in SHAPES[-5:]:
        k, _, k_scale, _ = cache(KINDS[k_kind], batch, kv_heads, capacity, size)
        _, v, _, v_scale = cache(KINDS[v_kind], batch, kv_heads, capacity, size)
        q = torch.randn(batch, group * kv_heads, size)
        out, expected = both(native, q, n, k, v, k_scale, v_scale)
        torch.testing.assert_close(out, expected, **CLOSE[FP32])


GROUPED = (
    Part("int8", group=32, scale_type="fp16"),
    Part("int8", scale_type="fp16"),
    Part("int4", group=64),
    Part("int4", group=32, scale_type="fp16"),
    Part("fp8_e4m3", group=32),
    Part("q8_0"),
    Part("q4_0"),
)


@pytest.mark.parametrize("k_part", GROUPED, ids=Part.word)
@pytest.mark.parametrize("size", [64, 128, 192])
def test_scales_of_groups_are_written_and_read_as_the_codec_does(native, k_part, size):
    torch.manual_seed(5)
    batch, heads, group, n = 2, 2, 3, 531
    q = torch.randn(batch, heads * group, 1, size)
    x = torch.randn(batch, heads, 600, size) * torch.logspace(-6, 3, 600)[:, None]
    x[0, 0, 3] = 0
    for v_part in (*GROUPED, Part("dense"), Part("int8")):
        of_k, of_v = (codec(part, size, FP32) for part in (k_part, v_part))
        k, v = of_k.encode(torch.randn_like(x)), of_v.encode(torch.randn_like(x))
        scales = k[1], v[1] if len(v) > 1 else None
        out = native.attention(k[0], v[0], *scales)(q, n, torch.empty_like(q))
        seen = [[t[:, :, :n] for t in stored] for stored in (k, v)]
        p = scores(grouped(q, heads), seen[0], of_k).softmax(-1)
        expected = ungrouped(weigh(p, seen[1], of_v), q)
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=2e-5)
    codes, scale = of_k.encode(x)
    stored = torch.zeros_like(codes), torch.zeros_like(scale)
    native.append(*stored, blocks=k_part.type in BLOCKS)(x, 0)
    assert torch.equal(stored[0].float(), codes.float()) and torch.equal(stored[1], scale)


@pytest.mark.parametrize("kind", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("size", [16, 48, 80])
def test_head_sizes_are_any_multiple_of_16(native, kind, size):
    q = torch.randn(2, 6, size)
    out, expected = both(native, q, 19, *cache(KINDS[kind], 2, 2, 30, size))
    torch.testing.assert_close(out, expected, **CLOSE[FP32])


def test_positions_past_n_are_never_read_into_the_result(native):
    q, (k, v, *_) = torch.randn(2, 4, 64), cache(FP32, 2, 4, 100, 64)
    k[:, :, 37:] = v[:, :, 37:] = torch.nan
    out, expected = both(native, q, 37, k, v)
    torch.testing.assert_close(out, expected, **CLOSE[FP32])


@pytest.mark.parametrize("kind", ["fp32", "int8", "int4"])
def test_large_and_tiny_magnitudes_keep_their_softmax(native, kind):
    torch.manual_seed(1)
    for magnitude in (1e-6, 30.0, 1e4):
        stored = list(cache(FP32, 1, 2, 700, 64)[:2])
        stored[0] *= magnitude
        if kind != "fp32":
            quantise = reference.quantise_int8 if kind == "int8" else reference.quantise_int4
            (k, ks), (v, vs) = map(quantise, stored)
            stored = [k, v, ks, vs]
        out, expected = both(native, torch.randn(1, 2, 64), 700, *stored)
        # a score of 1e5 has fp32 steps of 0.01, and its exponential as many percent
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=max(1e-5, 1e-6 * magnitude))


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("large", [1.0, 1e3, 1e30])
def test_scores_of_int8_keys_are_within_the_bound_that_the_kernels_state(native, size, large):
    """One channel of the query is large, of which no key has any: all steps grow with it."""
    torch.manual_seed(3)
    (k, k_scale), (v, v_scale) = map(reference.quantise_int8, torch.randn(2, 1, 2, 600, size))
    q = torch.randn(1, 2, 1, size)
    k[..., 0], q[..., 0] = 0, large
    out = torch.empty_like(q)
    native.attention(k, v, k_scale, v_scale)(q, 600, out)
    keys, values = (x.double() * s.double()[..., None] for x, s in ((k, k_scale), (v, v_scale)))
    exact = (q.double() @ keys.mT * size**-0.5).softmax(-1) @ values
    off = (
        2**-22 * large * keys.abs().sum(-1).max() * size**-0.5
    )  # of a score, and of what sums round
    most = values.abs().max()
    assert (out - exact).abs().max() <= most * min(2.0, (2 * off + 2**-18).exp() - 1 + 2**-18)


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("largest", [1e20, 1e30, 1e34, 1e37, 3e38])
def test_rows_near_the_largest_float_stay_finite_and_equal_their_reference(native, kind, largest):
    torch.manual_seed(5)
    quantise = reference.quantise_int8 if kind == "int8" else reference.quantise_int4
    k, v = torch.randn(2, 1, 2, 1100, 64)
    v = v.clamp(-4, 4) / 4
    v[:, :, 600:] *= largest  # the blocks before are ordinary
    (k, ks), (v, vs) = quantise(k), quantise(v)
    for n in (17, 600, 1100):
        out, expected = both(native, torch.randn(1, 4, 64), n, k, v, ks, vs)
        assert expected.isfinite().all()
        torch.testing.assert_close(
            out, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item()
        )


@pytest.mark.parametrize("kind", KINDS)
def test_equal_keys_give_the_mean_of_the_values(native, kind):
    k, v, *scales = cache(KINDS[kind], 1, 1, 50, 64)
    for t in (k, *scales[:1]):
        if t is not None:
            t.zero_()  # rows of zeros: scale 0, codes 0
    out, _ = both(native, torch.randn(1, 1, 64), 50, k, v, *scales)
    rows = v if scales[1] is None else reference.dequantise(v, scales[1])
    torch.testing.assert_close(out[0, 0], rows[0, 0].float().mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_read_past_the_end_of_a_tensor(native, kind):
    """Runs into the operating system if it is."""
    for n in (1, 5, 33):
        stored = cache(KINDS[kind], 1, 1, n, 64)
        guarded = [t if t is None else at_the_end_of_memory(t) for t in stored]
        for heads in (1, 3):
            q = torch.randn(1, heads, 64)
            out = native.attention(*guarded)(at_the_end_of_memory(q), n, torch.empty_like(q))
            assert torch.equal(out, both(native, q, n, *stored)[0])
    if KINDS[kind] in CLOSE:
        x, w, bias = (torch.randn(*shape).to(KINDS[kind]) for shape in ((3, 10), (35, 10), (35,)))
        linear = native.linear(at_the_end_of_memory(w), at_the_end_of_memory(bias))
        expected = native.linear(w, bias)(x, x.new_empty(3, 35))
        assert torch.equal(linear(at_the_end_of_memory(x), x.new_empty(3, 35)), expected)


def test_a_nan_in_the_query_reaches_the_output_of_its_head_only(native):
    q, stored = torch.randn(1, 2, 64), cache(FP32, 1, 2, 20, 64)
    q[0, 1, 5] = torch.nan
    out, _ = both(native, q, 20, *stored)
    assert out[0, 0].isfinite().all() and out[0, 1].isnan().all()


def test_a_query_may_be_a_strided_view_with_a_row_dimension(native):
    B, H, D = 3, 2, 64
    qkv, stored = torch.randn(B, 1, 3 * H * D), cache(FP32, B, H, 20, D)
    q = qkv.split(H * D, -1)[0].view(B, 1, H, D).transpose(1, 2)  # (B, H, 1, D)
    out = native.attention(*stored)(q, 20, torch.empty(B, H, 1, D))
    expected = both(native, q[:, :, 0].contiguous(), 20, *stored)[0]
    assert torch.equal(out[:, :, 0], expected)


def test_threads_change_no_bit(library):
    try:
        one, two = (load(library, threads=threads) for threads in (1, 2))
    except ValueError as error:
        pytest.skip(str(error))
    q, stored, w = torch.randn(2, 6, 64), cache(BF16, 2, 3, 90, 64), torch.randn(475, 64)
    outs = [native.attention(*stored)(q, 90, torch.empty_like(q)) for native in (one, two)]
    assert torch.equal(*outs)
    prompt = torch.randn(3, 2, 6, 50, 64)
    assert torch.equal(*(native.attend_prompt(*prompt) for native in (one, two)))
    for weights, x in product((w, w.bfloat16()), (q[0], q[0, :2], q[0, :1])):
        x = x.to(weights.dtype)
        assert torch.equal(*(n.linear(weights)(x, x.new_empty(len(x), 475)) for n in (one, two)))


@pytest.mark.parametrize("dtype", [FP32, BF16], ids=str)
@pytest.mark.parametrize("codes_dtype", [KINDS[kind] for kind in CODED], ids=CODED)
def test_quantised_rows_are_the_reference_s_bit_for_bit(native, dtype, codes_dtype):
    torch.manual_seed(2)
    x = torch.randn(2, 5, 3, 64).to(dtype).transpose(1, 2)  # (B, H, T, D), strided
    x = x * 10.0 ** torch.randint(-38, 38, (2, 3, 5, 1)).to(dtype)
    x[0, 0, 0] = 0
    x[0, 0, 1] = torch.arange(127, 191) * 1e-45  # subnormal: the scale is one step of fp32
    x[0, 1, 0, :3] = torch.tensor([254.0, 1.0, 3.0])  # ties, once the scale is 2
    x[1, 1, 1, 7], x[1, 1, 2, 8] = torch.inf, torch.nan
    columns = 32 if codes_dtype is torch.uint8 else 64
    stores = [(torch.ones(2, 3, 9, columns).to(codes_dtype), torch.ones(2, 3, 9)) for _ in "nt"]
    native.append(*stores[0])(x, 3)
    reference.append(x, *stores[1], 3)
    for ours, theirs in zip(*stores, strict=True):
        ours, theirs = ours.float(), theirs.float()  # torch compares no fp8
        assert torch.equal(ours.nan_to_num(), theirs.nan_to_num())
        assert torch.equal(ours.isnan(), theirs.isnan())
    assert (stores[0][0][:, :, :3].float() == 1).all() and (stores[0][1][:, :, 8:] == 1).all()


def test_codes_and_scales_give_back_the_rows():
    x = torch.randn(4, 64)
    for quantise, limit in ((reference.quantise_int8, 127), (reference.quantise_int4, 7)):
        codes, scale = quantise(x)
        error = (reference.dequantise(codes, scale) - x).abs()
        assert (error <= scale.unsqueeze(-1) * 0.5001).all()
        torch.testing.assert_close(scale * limit, x.abs().amax(-1))


@pytest.mark.parametrize("dtype", [FP32, BF16], ids=str)
def test_linear_equals_its_reference(native, dtype):
    torch.manual_seed(3)
    shapes = ((2, 1), (64, 33), (770, 96), (6, 475))  # 475: 15 panels of 32, 30 of 16, 60 of 8
    for rows, (inputs, outputs) in product((1, 2, 3, 4, 5, 8, 33), shapes):
        x, w = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
        bias = torch.randn(outputs).to(dtype)
        for b, gelu in ((None, False), (bias, True)):
            out = native.linear(w, b, gelu)(x, torch.full((rows, outputs), torch.nan, dtype=dtype))
            expected = reference.linear(x, w, b, torch.empty(rows, outputs), gelu)
            close = {"rtol": CLOSE[dtype]["rtol"], "atol": 1e-5 * inputs**0.5}
            torch.testing.assert_close(out.float(), expected, **close)


@pytest.mark.parametrize("dtype", [FP32, BF16], ids=str)
@pytest.mark.parametrize("outputs", [96, 33], ids=["whole panels", "a last one filled up"])
def test_weights_packed_in_place_multiply_as_packed_aside(native, dtype, outputs):
    torch.manual_seed(4)
    w, x = torch.randn(outputs, 64).to(dtype), torch.randn(3, 64).to(dtype)
    aside = native.linear(w)
    before = w.clone()
    expected = aside(x, x.new_empty(3, outputs))
    assert torch.equal(w, before)
    placed = native.linear(w, in_place=True)
    assert torch.equal(placed(x, x.new_empty(3, outputs)), expected)
    assert torch.equal(placed.panels, aside.panels)
    assert (placed.panels.data_ptr() == w.data_ptr()) == (outputs % placed.width == 0)


def test_bf16_results_are_rounded_to_the_nearest_ties_to_even(native):
    x = torch.randn(4096, 2).bfloat16()
    x[:3] = torch.tensor([[1.0, 2**-8], [1 + 2**-7, 2**-8], [torch.nan, 1.0]])
    out = native.linear(torch.ones(1, 2, dtype=BF16))(x, x.new_empty(4096, 1))[:, 0]
    torch.testing.assert_close(out, x.float().sum(1).bfloat16(), rtol=0, atol=0, equal_nan=True)
    assert out[:2].tolist() == [1.0, 1 + 2**-6]


def test_gelu_is_finite_far_from_zero(native):
    x = torch.tensor([[-1e30, 0.0], [-20.0, 0.0], [20.0, 0.0], [1e10, 0.0]])
    out = native.linear(torch.eye(2), gelu=True)(x, torch.empty(4, 2))
    assert out[:, 0].tolist() == pytest.approx([0, 0, 20, 1e10], abs=1e-6)


def test_read_sum_reads_every_element(native):
    for count, streams in product((1, 31, 255, 256, 1000, 4097), STREAMS):
        assert native.read_sum(torch.ones(count), streams=streams) == count
        x = torch.arange(count) % 7 + 1.0
        read = native.read_sum(at_the_end_of_memory(x), times=3, streams=streams)
        assert read == 3 * x.sum()


def refused(call, *words):
    with pytest.raises(ValueError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_tensors_that_do_not_fit_are_refused_in_one_line(library):
    native = load(library)
    k, v, *_ = cache(FP32, 2, 3, 20, 64)
    codes, _, scale, _ = cache(torch.int8, 2, 3, 20, 64)
    q, out = torch.randn(2, 3, 64), torch.empty(2, 3, 64)
    attention = native.attention(k, v)
    refused(lambda: native.attention(k, v[..., :32].clone()), "v:", "head size of k")
    refused(lambda: native.attention(k, v.half()), "v:", "float32", "bfloat16")
    refused(lambda: native.attention(k.transpose(1, 2), v), "k:", "contiguous")
    refused(lambda: native.attention(codes, codes), "k_scale", "fp32")
    refused(lambda: native.attention(k, v, scale, scale), "scale", "takes no")
    refused(lambda: native.attention(codes, codes, scale, scale[:, :, :9]), "v_scale", "(2, 3, 20)")
    refused(lambda: native.attention(k[..., :24].clone(), v[..., :24].clone()), "head size", "16")
    refused(lambda: attention(q[:, :2], 1, out[:, :2]), "q:", "multiple of 3")
    refused(lambda: attention(q.half(), 1, out), "q:", "float16")
    refused(lambda: attention(q, 1, out.bfloat16()), "out:", "float32")
    refused(lambda: attention(q, 0, out), "n must be 1 to 20")
    refused(lambda: attention(q, 21, out), "n must be 1 to 20")
    refused(lambda: attention(q.to("meta"), 1, out), "q:", "meta")
    prompt = native.attend_prompt
    refused(lambda: prompt(q, k, v), "q (B, Hq, T, D)")
    refused(lambda: prompt(k[:, :2], k, v), "multiple of Hkv")
    refused(lambda: prompt(k, k[:, :, :9], v), "S at least T")
    refused(lambda: prompt(k.half(), k, v), "q:", "float16")
    refused(lambda: prompt(k, k, v.bfloat16()), "v:", "float32")
    refused(lambda: prompt(k, k, v[:, :, :9]), "v:", "(2, 3, 20, 64)")
    row = torch.randn(2, 3, 1, 64)
    append = native.append(codes, scale)
    refused(lambda: native.append(codes, scale[:, :2]), "scale:", "(2, 3, 20)")
    refused(lambda: append(row, 20), "position 20 of 20")
    refused(lambda: append(row.double(), 0), "x:", "float64")
    linear = native.linear(torch.randn(8, 64))
    refused(lambda: native.linear(torch.randn(8, 63)), "K even")
    refused(lambda: linear(torch.randn(2, 62), torch.empty(2, 8)), "x:", "(2, 64)")
    refused(lambda: linear(torch.randn(2, 64), torch.empty(8, 2).T), "out:", "contiguous")
    refused(lambda: native.read_sum(q, streams=3), "streams", "1, 8 or 16", "3")
    refused(lambda: native.read_sum(q.double()), "x:", "float32")


def test_an_instruction_set_can_be_chosen_and_an_unknown_one_is_refused(library, monkeypatch):
    assert load(library, "portable").isa == "portable"
    monkeypatch.setenv("KVBENCH_ISA", "portable")
    assert load(library).isa == "portable"
    monkeypatch.setenv("KVBENCH_ISA", "avx9000")
    refused(lambda: load(library), "avx9000", "best")


def test_a_library_of_other_sources_is_refused(library, tmp_path):
    other = tmp_path / "other.so"
    old, new = source_sha256().encode(), b"0" * 64
    other.write_bytes(library.read_bytes().replace(old, new))
    refused(lambda: load(other), "build it again")


def test_a_missing_or_broken_compiler_leaves_no_file(tmp_path, monkeypatch):
    output = tmp_path / "kernels.so"
    with pytest.raises(CompilerError, match="'no-such-compiler' not found"):
        build(output, "no-such-compiler")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(CompilerError, match="install g"):
        build(output)
    with pytest.raises(CompilerError, match="/bin/false is no C"):
        build(output, "/bin/false")
    assert not list(tmp_path.iterdir())
    files = [tmp_path / name for name in ("kvbench.so", "kvbench.json", "account.so")]
    build_or_say_why(*files)
    for path in (files[0], files[2]):
        assert "install g++" in placeholder.reason(path)
    assert memory_account.load(files[2]) is None


SH = "#!/bin/sh\n"
KNOWN = "case $1 in --version) echo a compiler 1.0; exit;; -dumpmachine) echo x86_64; exit;; esac\n"


@pytest.mark.parametrize(
    "script, words",
    [
        ("exit 1\n", "is no C++ compiler"),
        ("", "says no version"),
        (KNOWN, "there is no library"),
        (KNOWN + "echo error: refused >&2; exit 1\n", "refused"),
    ],
    ids=["false", "true", "makes nothing", "refuses the sources"],
)
def test_what_is_no_working_compiler_leaves_the_reason_for_cells_on_torch(
    tmp_path, monkeypatch, script, words
):
    compiler = tmp_path / "c++"
    compiler.write_text(SH + script)
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    files = [tmp_path / name for name in ("kvbench.so", "kvbench.json", "account.so")]
    build_or_say_why(*files)
    for path in (files[0], files[2]):
        reason = placeholder.reason(path)
        assert words in reason and "\n" not in reason
