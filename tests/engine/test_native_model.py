"""Models and caches on native kernels: the numbers of the plain ones, in the same memory."""

import copy
from functools import cache

import pytest
import torch
from stored import stored
from test_generate import prompts, run, small_model
from torch.nn import functional as F

from kvbench.bench import decode, latency, phase, vram
from kvbench.caches import make
from kvbench.engine.backend import PLAIN, Choice, can_prepack, settle
from kvbench.engine.fast_cache import (
    NativeCache,
    WidenedCache,
    with_fast_attention,
    with_native_attention,
)
from kvbench.engine.generate import generate
from kvbench.engine.packed_linear import PanelEmbedding, TwoFormLinear, copied_bytes, pack
from kvbench.files.placeholder import MARK
from kvbench.models import gpt2, llama
from kvbench.plan.cells import cell
from kvbench.plan.config import load_schema, resolve

APART = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # of the norm: three layers of roundings
SHAPE = {"n_layer": 3, "n_head": 2, "n_embd": 64, "block_size": 96, "vocab_size": 101}
STUDY = {
    "pretrained": "null",
    "model_config": SHAPE,
    "prompt_length": 8,
    "device": "cpu",
    "roofline": {"P": 20},
}


@pytest.fixture(params=[False, True], ids=["no matrix units", "matrix units"])
def matrix_units(request, monkeypatch):
    """The way of a processor without AMX and of one with it, both of which any processor can go."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: request.param)
    return request.param


def packed(model, choice):
    model = copy.deepcopy(model)
    pack(model, choice)
    return model


def native_run(model, choice, cache_name, prompt, n):
    tokens, like = prompt.size(1) + n, model.lm_head.weight
    cache = with_native_attention(
        make(stored(cache_name), model.config, len(prompt), tokens, like), choice.native
    )
    return cache, generate(model, prompt, n, cache)


@cache
def on_torch_tokens(arch, layer_map, batch):
    """A model, a prompt, and what torch alone generates without a cache and with one of INT8."""
    plain, prompt = small_model(layer_map, 3, arch=arch), prompts(batch, 5)
    return plain, prompt, run(plain, "none", prompt, 60), run(plain, "int8", prompt, 40)


@pytest.mark.parametrize("arch", [gpt2, llama], ids=["gpt2", "llama"])
@pytest.mark.parametrize("layer_map", ["own", "pairs"])
@pytest.mark.parametrize("batch", [1, 3])
def test_native_v1_equals_v0_and_int8_its_reference_token_for_token(choice, arch, layer_map, batch):
    plain, prompt, uncached, coded = on_torch_tokens(arch, layer_map, batch)
    model = packed(plain, choice)
    cache, tokens = native_run(model, choice, "dense", prompt, 60)  # past block_size: slides
    assert isinstance(cache, NativeCache)
    assert torch.equal(tokens, run(model, "none", prompt, 60))
    assert torch.equal(tokens, uncached)
    assert torch.equal(native_run(model, choice, "int8", prompt, 40)[1], coded)


def test_int4_rows_are_appended_and_attended_to_natively(choice):
    plain, prompt = small_model("pairs", n_head=2), prompts(3, 5)  # heads of 32: in two halves
    cache, tokens = native_run(packed(plain, choice), choice, "int4", prompt, 40)
    assert isinstance(cache, NativeCache)
    assert torch.equal(tokens, run(plain, "int4", prompt, 40))


@pytest.mark.parametrize("arch", [gpt2, llama], ids=["gpt2", "llama"])
@pytest.mark.parametrize("dtype", APART, ids=str)
@pytest.mark.parametrize("cache_name", ["dense", "int8"])
def test_logits_of_every_step_are_the_plain_model_s(choice, arch, dtype, cache_name, matrix_units):
    # The order of a sum decides its last bit, which may move one code of thousands to the next.
    apart = max(APART[dtype], 2e-4 if cache_name == "int8" else 0.0)
    plain, tokens = small_model("pairs", 3, dtype, arch), prompts(2, 30)
    model = packed(plain, choice)
    like = plain.lm_head.weight
    theirs = make(stored(cache_name), plain.config, 2, 30, like)
    ours = with_native_attention(make(stored(cache_name), plain.config, 2, 30, like), choice.native)
    for part in tokens.split([9, 1, 1, 4, *[1] * 15], 1):  # prefill, decode, chunks
        found, expected = model(part, ours).float(), plain(part, theirs).float()
        assert (found - expected).norm() <= apart * expected.norm()
    assert ours.length == theirs.length == 30 and ours.used_bytes() == theirs.used_bytes()


@pytest.mark.parametrize("dtype", APART, ids=str)
def test_a_tied_head_and_its_embedding_share_one_copy(choice, dtype, matrix_units):
    """The head's panels, or, where bfloat16 has matrix units, the plain weights kept for them."""
    plain, idx = small_model(dtype=dtype), prompts(3, 7)
    model = packed(plain, choice)
    wte, head = model.transformer["wte"], model.lm_head
    kept = matrix_units and dtype is torch.bfloat16
    assert isinstance(head, TwoFormLinear) == kept
    assert isinstance(wte, PanelEmbedding) == (not kept)
    assert wte.weight is (head.plain if kept else head).weight
    assert torch.equal(wte(idx), plain.transformer["wte"](idx))


def test_matrix_units_keep_plain_weights_for_many_rows(choice):
    linear = small_model().lm_head
    both = TwoFormLinear(linear, choice)
    for rows in (1, 33):
        x = torch.randn(rows, 64)
        torch.testing.assert_close(both(x), F.linear(x, linear.weight), rtol=1e-5, atol=1e-5)


def test_float32_weights_stay_plain_without_a_compiler_on_every_processor(monkeypatch):
    for capability in ("AVX2", "AVX512", "DEFAULT"):
        monkeypatch.setattr(
            torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability
        )
        assert not can_prepack("float32")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not can_prepack("bfloat16")


def test_prepacked_weights_give_the_plain_logits_and_are_counted():
    plain, tokens = small_model(), prompts(2, 9)
    model = packed(plain, Choice("eager", "torch", "prepacked"))
    ours, theirs = (make("dense", plain.config, 2, 9, plain.lm_head.weight) for _ in "ab")
    torch.testing.assert_close(model(tokens, ours), plain(tokens, theirs), rtol=1e-5, atol=1e-5)
    matrices = sum(p.nbytes for p in plain.parameters() if p.ndim > 1)
    assert copied_bytes(model) >= matrices - plain.transformer["wpe"].weight.nbytes


def cell_of(benchmark, version, **where):
    return cell(resolve(STUDY, load_schema()), benchmark, "custom", version, batch=2, **where)


@cache
def on_torch(version, dtype, _matrix_units, library=None):
    """A record on torch's own operators, which no instruction set of the library changes."""
    asked = cell_of("vram", version, T=40).replace(dtype=dtype, kernel="torch")
    return vram.run(asked, None, library)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("version", ["v0", "v1", "v4"])
def test_peak_memory_reconciles_to_the_byte(
    isa, library, version, dtype, matrix_units, monkeypatch
):
    monkeypatch.setenv("KVBENCH_ISA", isa)
    asked = cell_of("vram", version, T=40).replace(dtype=dtype)
    record = vram.run(asked, None, str(library))
    plain = on_torch(version, dtype, matrix_units)
    parts = ("weight_bytes", "packed_bytes", "cache_reserved_bytes", "transient_bytes")
    prompt_bytes = 2 * 8 * 8
    assert record["kernel_isa"] == isa
    assert record["peak_memory_bytes"] == prompt_bytes + sum(record[part] for part in parts)
    assert record["weight_bytes"] == plain["weight_bytes"] and plain["packed_bytes"] == 0
    share = record["packed_bytes"] / record["weight_bytes"]
    if matrix_units and dtype == "bfloat16":
        assert 0.9 < share < 1.1  # a second copy of every matrix
    else:
        assert 0 <= share < 0.1  # a last panel filled up
    assert record["cache_reserved_bytes"] == plain["cache_reserved_bytes"]
    by_account = on_torch(version, dtype, matrix_units, str(library))
    assert by_account["repeats"] == plain["repeats"]  # both meters, to the byte


def test_records_say_what_ran(library):
    native = latency.run(cell_of("latency", "v2", T=3), None, str(library))
    assert (native["execution"], native["kernel"], native["linear"]) == (
        "step",
        "native",
        "panels",
    )
    assert native["kernel_isa"] and native["kernel_build"]["compiler"]
    seed = phase.run(cell_of("phase", "v2", T=3).replace(kernel="torch"), None, str(library))
    assert (seed["kernel"], seed["linear"], seed["kernel_reason"]) == ("torch", "plain", None)


def test_without_a_compiler_torch_runs_and_the_record_says_why(tmp_path):
    missing = tmp_path / "kvbench.so"
    missing.write_text(f"{MARK}no C++ compiler found\n")
    asked = cell_of("decode", "v2", depth=9)
    record = decode.run(asked, None, str(missing))
    assert (record["kernel"], record["kernel_reason"]) == ("torch", "no C++ compiler found")
    assert record["linear"] == "plain"
    with pytest.raises(RuntimeError, match="native, but no C"):
        settle(asked.replace(kernel="native"), "cpu", str(missing))


def test_bfloat16_rows_are_widened_where_torch_alone_reads_them():
    plain, tokens = small_model(dtype=torch.bfloat16, block_size=160), prompts(2, 150)
    alone = settle(cell_of("decode", "v1", depth=9).replace(dtype="bfloat16"), "cpu")
    like = plain.lm_head.weight
    theirs, ours = (make("dense", plain.config, 2, 150, like) for _ in "ab")
    ours = with_fast_attention(ours, alone)
    assert isinstance(ours, WidenedCache)
    for part in tokens.split([140, *[1] * 10], 1):
        found, expected = plain(part, ours).float(), plain(part, theirs).float()
        assert (found - expected).norm() <= APART[torch.bfloat16] * expected.norm()
    coded = make(stored("int8"), plain.config, 2, 150, like)
    assert with_fast_attention(coded, alone) is coded and not PLAIN.widened


def test_what_was_asked_for_by_name_is_what_runs(library):
    asked = cell_of("vram", "v1", T=4)
    assert settle(asked.replace(kernel="torch"), "cpu", str(library)) == PLAIN
    assert settle(asked, "cuda", str(library)).kernel != "native"
    with pytest.raises(RuntimeError, match="graph needs CUDA"):
        settle(asked.replace(execution="graph"), "cpu", str(library))


@pytest.mark.parametrize("rotate", [True, "folded"])
@pytest.mark.parametrize("layers", [[], [-1]], ids=str)
@pytest.mark.parametrize("parts", [("int8", "int4"), ("q4_0", "dense"), ("fp8_e4m3", "fp8_e5m2")])
def test_rows_that_are_stored_turned_are_read_natively(choice, rotate, layers, parts):
    plain = small_model(n_head=2)
    written = {"keys": parts[0], "values": parts[1], "rotate": rotate}
    written["dense_layers"] = layers
    theirs = plain.cache_of(written, 2, 30)
    ours = with_native_attention(plain.cache_of(written, 2, 30), choice.native)
    assert ours.decode_kernel == "native"
    tokens = torch.randint(64, (2, 30), generator=torch.Generator().manual_seed(0))
    for part in tokens.split([9, *[1] * 21], 1):
        found, expected = plain(part, ours), plain(part, theirs)
        # A code on the edge between two may fall to either side.
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
    assert ours.used_bytes() == theirs.used_bytes()
