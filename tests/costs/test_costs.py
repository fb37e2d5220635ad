"""The cost model against hand counts, and against what torch counts in the model itself."""

import pytest
import torch
from stored import stored
from torch.utils.flop_counter import FlopCounterMode

from kvbench.caches import layout_of, make
from kvbench.costs import forward as costs
from kvbench.costs.layer_map import owners
from kvbench.models.build import build
from kvbench.models.gpt2 import Config, Model
from kvbench.presets import get_preset

SMALL = {"n_layer": 3, "n_head": 4, "n_embd": 64, "block_size": 48, "vocab_size": 211}
LLAMA = {**SMALL, "arch": "llama", "n_kv_head": 2, "n_inner": 160}
WIDE = {**LLAMA, "head_dim": 24}  # heads wider together than n_embd
SHAPES = {"gpt2": {**SMALL, "arch": "gpt2"}, "llama": LLAMA, "wide heads": WIDE}
EVERY = pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))


@pytest.mark.parametrize("layer_map", ["own", "pairs"])
@pytest.mark.parametrize("bias", [True, False])
def test_parameters_are_the_model_s(layer_map, bias):
    owner = owners(layer_map, 3)
    model = Model(Config(**SMALL, bias=bias, owner=tuple(owner)))
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert sum(costs.n_params({**SMALL, "bias": bias}, owner).values()) == counted


@pytest.mark.parametrize("shape", [LLAMA, WIDE], ids=["llama", "wide heads"])
@pytest.mark.parametrize("layer_map", ["own", "pairs"])
def test_llama_s_parameters_are_the_model_s(shape, layer_map):
    model = build(shape, layer_map, device="cpu")
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert sum(costs.n_params(shape, owners(layer_map, 3)).values()) == counted


@EVERY
@pytest.mark.parametrize("layer_map", ["own", "pairs"])
@pytest.mark.parametrize("T,depth,batch", [(1, 0, 1), (7, 0, 2), (1, 20, 3)])
def test_flop_are_what_torch_counts(shape, layer_map, T, depth, batch):
    """FlopCounterMode counts attention over all T x C pairs; the model counts the causal half."""
    owner = owners(layer_map, 3)
    model = build(shape, layer_map, "float32", device="cpu")
    cache = make("dense", model.config, batch, 40, model.lm_head.weight)
    tokens = torch.zeros(batch, 40, dtype=torch.long)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        if depth:
            model(tokens[:, :depth], cache)
        with FlopCounterMode(display=False) as counter:
            model(tokens[:, :T], cache)
    flop = costs.forward(shape, owner, "float32", batch, depth, T, 64).flop
    future = T * (T - 1) // 2  # pairs that the mask hides
    assert counter.get_total_flops() == flop + 4 * batch * 4 * costs.head_dim(shape) * future * 3


def test_gpt2_medium_decode_bytes_by_hand():
    shape = get_preset("gpt2-medium")
    cost = costs.forward(shape, owners("own", 24), "bfloat16", 1, 512, 1, 128)
    assert cost.kv_read_bytes == 2 * 24 * 16 * 513 * 128
    assert cost.kv_write_bytes == 2 * 24 * 16 * 128
    assert cost.bytes / 1e6 == pytest.approx(758, rel=1e-3)
    assert cost.intensity == pytest.approx(1.0, abs=0.01)


def test_without_a_cache_nothing_is_read_from_one():
    cost = costs.forward(SMALL, [0, 1, 2], "float32", 1, 0, 9, None)
    assert cost.kv_read_bytes == cost.kv_write_bytes == 0


def test_a_borrower_saves_weights_and_writes_but_not_reads():
    own, pairs = (
        costs.forward(SMALL, owners(name, 3), "float32", 2, 10, 1, 64) for name in ("own", "pairs")
    )
    assert pairs.kv_read_bytes == own.kv_read_bytes
    assert pairs.kv_write_bytes * 3 == own.kv_write_bytes * 2
    assert own.weight_bytes - pairs.weight_bytes == 4 * 2 * (64 * 64 + 64)


def test_the_ceiling_of_int8_grows_with_batch():
    shape = get_preset("gpt2")

    def moved(B: int, row: int) -> int:
        return costs.forward(shape, range(12), "bfloat16", B, 1024, 1, row).bytes

    ceilings = [moved(B, 128) / moved(B, 68) for B in (1, 8, 32)]
    assert ceilings == pytest.approx([1.07, 1.35, 1.64], abs=0.01)


@pytest.mark.parametrize("turned", ["int4_hadamard", "window_int4"])
@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_the_turns_of_rotated_rows_are_counted(turned, arch):
    """As torch counts the products of one decode step."""
    shape = SHAPES[arch]
    size = costs.head_dim(shape)
    counted, modelled = {}, {}
    for name in ("int4", turned):
        model = build(shape, dtype="float32", device="cpu")
        cache = make(stored(name), model.config, 2, 20, model.lm_head.weight)
        idx = torch.zeros(2, 9, dtype=torch.long)
        model(idx[:, :8], cache)
        with FlopCounterMode(display=False) as counter:
            model(idx[:, 8:], cache)
        counted[name] = counter.get_total_flops()
        kept = layout_of(stored(name), size, 4)
        modelled[name] = costs.forward(shape, range(3), "float32", 2, 8, 1, kept).flop
    more = modelled[turned] - modelled["int4"]
    rows = 3 * (shape["n_head"] + shape.get("n_kv_head", shape["n_head"]))
    assert more == counted[turned] - counted["int4"] == 2 * 2 * rows * size**2
