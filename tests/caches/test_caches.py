"""What caches store: the bytes of the closed form, and rows that lose no more than half a step."""

import pytest
import torch
from stored import stored

from kvbench.caches import BLOCK, layout_of, make
from kvbench.costs.layer_map import owners
from kvbench.kernels.reference import quantise_int8
from kvbench.models.gpt2 import Config


def filled(name, layer_map="own", n_layer=5, tokens=70, batch=2, dtype=torch.bfloat16):
    owner = tuple(owners(layer_map, n_layer))
    config = Config(n_layer, n_head=3, n_embd=192, block_size=256, vocab_size=10, owner=owner)
    cache = make(stored(name), config, batch, tokens, torch.zeros(1, dtype=dtype))
    for layer in config.owning_layers:
        cache.update(layer, *torch.randn(2, batch, 3, tokens, 64).to(dtype))
    cache.advance(tokens)
    return config, cache


@pytest.mark.parametrize("layer_map,owning", [("own", 5), ("pairs", 3)])
@pytest.mark.parametrize(
    "name,dtype,row",
    [("dense", torch.float32, 256), ("dense", torch.bfloat16, 128), ("int8", torch.bfloat16, 68)],
)
def test_bytes_are_the_closed_form_exactly(name, dtype, row, layer_map, owning):
    config, cache = filled(name, layer_map, dtype=dtype)
    assert cache.used_bytes() == 2 * owning * 2 * 3 * 70 * row
    assert cache.reserved_bytes() == 2 * owning * 2 * 3 * 2 * BLOCK * row
    assert cache.used_bytes() <= cache.reserved_bytes()


def test_int8_compression_depends_on_what_it_is_compared_with():
    for itemsize, times in ((2, 1.88), (4, 3.76)):
        dense, int8 = (
            layout_of(stored(name), 64, itemsize).bytes(100) for name in ("dense", "int8")
        )
        assert dense / int8 == pytest.approx(times, abs=0.01)


def test_reserved_bytes_grow_with_tokens_in_blocks():
    sizes = [filled("dense", tokens=tokens)[1].reserved_bytes() for tokens in (1, 64, 65, 250, 256)]
    assert sizes == [sizes[0] * n for n in (1, 1, 2, 4, 4)]


def test_no_cache_holds_nothing():
    _, cache = filled("none")
    assert (cache.used_bytes(), cache.reserved_bytes(), list(cache.storages())) == (0, 0, [])


def test_int8_rows_err_by_at_most_half_a_step():
    x = torch.randn(2, 3, 7, 64) * torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    codes, scale = quantise_int8(x)
    assert codes.dtype == torch.int8 and codes.abs().max() == 127
    error = (codes * scale.unsqueeze(-1) - x).abs()
    assert (error <= scale.unsqueeze(-1) * 0.5001).all()


def test_int8_rounds_half_to_even_and_keeps_zero_rows_zero():
    row = torch.tensor([127.0, 0.5, 1.5, 2.5, -0.5, -1.5, 0, 0])
    codes, scale = quantise_int8(torch.stack([row, torch.zeros(8)]))
    assert codes[0].tolist() == [127, 0, 2, 2, 0, -2, 0, 0]
    assert codes[1].tolist() == [0] * 8 and scale[1] == 0


def test_a_row_s_codes_depend_on_no_other_row():
    x = torch.randn(1, 2, 9, 64)
    one_by_one = [quantise_int8(x[:, :, t : t + 1]) for t in range(9)]
    codes, scale = quantise_int8(x)
    assert torch.equal(torch.cat([c for c, _ in one_by_one], 2), codes)
    assert torch.equal(torch.cat([s for _, s in one_by_one], 2), scale)
