"""The Triton kernels against their torch twins: interpreted on a CPU, compiled on a GPU.

The interpreter cuts floats off to bfloat16 where a GPU rounds them, so a result may be a whole
step, 2^-7, off. Compiling ahead of time for a GPU needs none.
"""

import os
import subprocess
import sys
from itertools import product

import pytest
import torch

from kvbench.kernels import reference

triton_bound = pytest.importorskip("kvbench.kernels.triton.bound", exc_type=ImportError)
Attention, Append = triton_bound.Attention, triton_bound.Append

FP32, BF16 = torch.float32, torch.bfloat16
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CLOSE = {FP32: {"rtol": 1e-5, "atol": 1e-5}, BF16: {"rtol": 2**-7, "atol": 1e-3}}
KINDS = {"fp32": FP32, "bf16": BF16, "int8": torch.int8, "int4": torch.uint8}


def cache(kind, batch, heads, capacity, size, device=DEVICE):
    """K, V and their scales."""
    k, v = torch.randn(2, batch, heads, capacity, size, device=device)
    if kind in (FP32, BF16):
        return k.to(kind), v.to(kind), None, None
    quantise = reference.quantise_int8 if kind is torch.int8 else reference.quantise_int4
    (k, k_scale), (v, v_scale) = quantise(k), quantise(v)
    return k, v, k_scale, v_scale


def at(position, device=DEVICE):
    return torch.tensor([position], device=device)


def both(q, n, stored, **options):
    out = torch.full_like(q, torch.nan)
    Attention(q.size(1), *stored, **options)(q, at(n - 1, q.device), out)
    k, v, *scales = stored
    expected = torch.empty_like(q, dtype=FP32)
    return out.float(), reference.decode_attention(q, k, v, n, expected, *scales)


# batch, K/V heads, query heads a group, head size, capacity, n, splits
SHAPES = [
    (1, 1, 1, 32, 1, 1, None),
    (1, 3, 1, 64, 64, 2, None),
    (33, 1, 1, 64, 40, 15, None),
    (2, 1, 3, 128, 40, 16, None),
    (3, 2, 4, 64, 17, 17, 2),
    (1, 1, 9, 96, 300, 261, 4),
    (2, 1, 1, 80, 300, 300, 4),
    (1, 1, 1, 64, 1024, 129, 8),  # most splits have no keys
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_decode_attention_equals_its_twin(kind, shape):
    torch.manual_seed(0)
    batch, kv_heads, group, size, capacity, n, splits = shape
    stored = cache(KINDS[kind], batch, kv_heads, capacity, size)
    for dtype in (FP32, BF16):
        q = torch.randn(batch, group * kv_heads, size, device=DEVICE).to(dtype)
        torch.testing.assert_close(*both(q, n, stored, splits=splits), **CLOSE[dtype])


def test_one_binding_serves_every_depth():
    q, stored, out = torch.randn(1, 2, 64, device=DEVICE), cache(torch.int8, 1, 2, 200, 64), None
    attention, position = Attention(2, *stored, splits=2), at(0)
    for n in (1, 63, 64, 65, 200):
        position.fill_(n - 1)
        out = attention(q, position, torch.empty_like(q))
        torch.testing.assert_close(out, both(q, n, stored)[1], **CLOSE[FP32])


def test_positions_past_n_are_never_read_into_the_result():
    q, (k, v, *_) = torch.randn(1, 2, 64, device=DEVICE), cache(FP32, 1, 2, 100, 64)
    k[:, :, 37:] = v[:, :, 37:] = torch.nan
    torch.testing.assert_close(*both(q, 37, (k, v, None, None), splits=2), **CLOSE[FP32])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_zeros_give_the_mean_of_the_values(kind):
    k, v, *scales = cache(KINDS[kind], 1, 1, 50, 64)
    for t in (k, *scales[:1]):
        if t is not None:
            t.zero_()
    out, _ = both(torch.randn(1, 1, 64, device=DEVICE), 50, (k, v, *scales))
    rows = v if scales[1] is None else reference.dequantise(v, scales[1])
    torch.testing.assert_close(out[0, 0], rows[0, 0].float().mean(0), rtol=1e-5, atol=1e-6)


def test_a_query_may_be_a_strided_view_with_a_row_dimension():
    B, H, D = 3, 2, 64
    qkv, stored = torch.randn(B, 1, 3 * H * D, device=DEVICE), cache(FP32, B, H, 20, D)
    q = qkv.split(H * D, -1)[0].view(B, 1, H, D).transpose(1, 2)  # (B, H, 1, D)
    out = Attention(H, *stored)(q, at(19), torch.empty(B, H, 1, D, device=DEVICE))
    torch.testing.assert_close(out[:, :, 0], both(q[:, :, 0], 20, stored)[1], **CLOSE[FP32])


@pytest.mark.parametrize("dtype", [FP32, BF16], ids=str)
@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("size", [32, 96])
def test_appended_codes_are_the_twins_bit_for_bit(dtype, kind, size):
    torch.manual_seed(2)
    x = torch.randn(2, 1, 5, size).to(dtype).transpose(1, 2)  # (B, H, 1, D), strided
    x = x * 10.0 ** torch.randint(-38, 38, (2, 5, 1, 1)).to(dtype)
    x[0, 0] = 0
    x[0, 1] = torch.arange(127, 127 + size) * 1e-45  # subnormal: the scale is one step of fp32
    x[0, 2, 0, :3] = torch.tensor([254.0, 1.0, 3.0])  # ties, once the scale is 2
    x[1, 1, 0, 7], x[1, 2, 0, 8] = torch.inf, torch.nan
    x, columns = x.to(DEVICE), size if kind == "int8" else size // 2
    empty = torch.ones(2, 5, 9, columns, device=DEVICE).to(KINDS[kind])
    stores = [(empty.clone(), torch.ones(2, 5, 9, device=DEVICE)) for _ in "nt"]
    Append(*stores[0])(x, at(3))
    reference.append(x, *stores[1], 3)
    for ours, twins in zip(*stores, strict=True):
        torch.testing.assert_close(ours, twins, rtol=0, atol=0, equal_nan=True)
    assert (stores[0][0][:, :, 4:] == 1).all() and (stores[0][1][:, :, :3] == 1).all()


def test_a_row_of_floats_is_appended_as_it_is():
    x, rows = torch.randn(2, 3, 1, 64, device=DEVICE), torch.zeros(2, 3, 9, 64, device=DEVICE)
    Append(rows)(x, at(8))
    assert torch.equal(rows[:, :, 8:], x) and not rows[:, :, :8].any()


def test_tensors_that_do_not_fit_are_refused_in_one_line():
    k, v, *_ = cache(FP32, 2, 3, 20, 64)
    codes, _, scale, _ = cache(torch.int8, 2, 3, 20, 64)
    q = torch.randn(2, 3, 64, device=DEVICE)

    def refused(call, *words):
        with pytest.raises(ValueError) as caught:
            call()
        assert "\n" not in str(caught.value) and all(w in str(caught.value) for w in words)

    refused(lambda: Attention(3, k, v.bfloat16()), "v:", "float32", "bfloat16")
    refused(lambda: Attention(3, k.transpose(1, 2), v), "k:", "contiguous")
    refused(lambda: Attention(3, codes, codes), "k_scale", "fp32")
    refused(lambda: Attention(3, k, v, scale, scale), "takes no")
    refused(lambda: Attention(4, k, v), "multiple of 3")
    refused(lambda: Attention(3, k, v)(q[:, :2], at(0), q[:, :2]), "q:", "(2, 3, 64)")
    refused(lambda: Attention(3, k, v)(q, at(0), q.bfloat16()), "out:", "float32")
    refused(lambda: Append(codes), "scale", "fp32")
    refused(lambda: Append(k, scale), "takes no scale")
    refused(lambda: Append(k)(q, at(0)), "x:", "(2, 3, 1, 64)")


def test_kernels_compile_ahead_of_time_for_a_gpu_that_is_not_there(tmp_path):
    """Every format and both ways to multiply, to machine code of compute capability 9.0."""
    command = [sys.executable, "-m", "kvbench.kernels.triton.compile_ahead", "90"]
    compiled = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    compiled |= {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=compiled)
    if "no assembler" in done.stderr:
        pytest.skip("this Triton has no assembler for NVIDIA GPUs")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[1:]  # after the assembler's version
    assert len(lines) == 2 * 4 + 1 + 4 and all("bytes" in line for line in lines), done.stdout


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_large_caches_on_a_gpu(kind):
    torch.manual_seed(4)
    for (B, group), n in product(((1, 1), (64, 1), (8, 4)), (1, 1000, 4096)):
        stored = cache(KINDS[kind], B, 4, 4096, 64)
        for dtype in (FP32, BF16):
            q = torch.randn(B, 4 * group, 64, device=DEVICE).to(dtype)
            torch.testing.assert_close(*both(q, n, stored), **CLOSE[dtype])


@pytest.mark.gpu
def test_a_captured_graph_serves_every_depth():
    q, stored = torch.randn(2, 4, 64, device=DEVICE), cache(torch.int8, 2, 4, 256, 64)
    attention, position, out = Attention(4, *stored), at(0), torch.empty_like(q)
    attention(q, position, out)  # compiled before it is captured
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        attention(q, position, out)
    for n in (1, 100, 256):
        position.fill_(n - 1)
        graph.replay()
        torch.testing.assert_close(out, both(q, n, stored)[1], **CLOSE[FP32])
