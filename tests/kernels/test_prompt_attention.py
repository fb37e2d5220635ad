"""Native attention of many queries against torch's, for every instruction set here."""

import pytest
import torch
from guarded import at_the_end_of_memory

from kvbench.caches import causal_sdpa
from kvbench.caches.none import KVCache
from kvbench.engine.fast_cache import with_native_attention
from kvbench.kernels.cpu.library import load

FP32, BF16 = torch.float32, torch.bfloat16
CLOSE = {FP32: {"rtol": 1e-5, "atol": 1e-5}, BF16: {"rtol": 2**-8, "atol": 1e-3}}  # half a step


@pytest.fixture
def native(isa, library):
    return load(library, isa)


SHAPES = [
    (1, 2, 2, 1, 1, 64),
    (2, 4, 2, 45, 61, 48),
    (1, 3, 1, 7, 300, 80),
    (1, 2, 2, 260, 260, 16),
]


@pytest.mark.parametrize("dtype", [FP32, BF16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_many_queries_attend_to_the_keys_up_to_their_own(native, dtype, shape):
    B, heads, kv_heads, T, S, D = shape
    q = torch.randn(B, T, heads, D).to(dtype).transpose(1, 2)  # as a product leaves it
    k, v = torch.randn(2, B, S, kv_heads, D).to(dtype).transpose(2, 3)
    expected = causal_sdpa(q.double(), k.double(), v.double()).to(dtype)
    out = native.attend_prompt(q, k, v)
    assert out.transpose(1, 2).is_contiguous()
    torch.testing.assert_close(out, expected, **CLOSE[dtype])
    whole = native.attend_prompt(q, *(x.float() for x in (k, v)))  # as codes are read
    torch.testing.assert_close(whole, expected, **CLOSE[dtype])
    guarded = [at_the_end_of_memory(x.contiguous()) for x in (q, k, v)]
    assert torch.equal(native.attend_prompt(*guarded), out)


@pytest.mark.parametrize("largest", [1e-30, 1e3, 1e18])
def test_prompts_of_tiny_and_huge_numbers_keep_their_softmax(native, largest):
    q, k = torch.randn(2, 1, 2, 70, 64)
    v = torch.randn_like(q) * largest
    k[:, :, 3] *= 40  # a peak that later maxima are measured against
    out = native.attend_prompt(q, k, v)
    torch.testing.assert_close(out / largest, causal_sdpa(q, k, v / largest), **CLOSE[FP32])


def test_a_nan_of_a_prompt_reaches_its_own_query_and_those_after_it(native):
    q, k, v = torch.randn(3, 1, 2, 80, 64)
    q[0, 0, 5], k[0, 1, 70] = torch.nan, torch.nan
    out = native.attend_prompt(q, k, v)
    wrong = out.isnan().any(-1)[0]
    assert wrong[0].nonzero().flatten().tolist() == [5]
    assert wrong[1].nonzero().flatten().tolist() == list(range(70, 80))


def test_only_the_cache_that_forgets_itself_attends_natively(native):
    """One made of it may attend otherwise, as a cache of one's own does."""

    class Own(KVCache):
        pass

    q, k, v = torch.randn(3, 1, 2, 40, 64)
    for kind in (KVCache, Own):
        cache = kind([0], 1, 2, 40, 64, FP32, "cpu")
        fast = with_native_attention(cache, native)
        assert (fast is cache) == (kind is Own)
        fast.update(0, k, v)
        torch.testing.assert_close(fast.attend(0, q), causal_sdpa(q, k, v), **CLOSE[FP32])
