"""Directories of Hugging Face's: what transformers computes of them, and what is refused."""

import json
import math

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from stored import stored
from tiny_models import FAMILIES
from transformers import AutoModelForCausalLM

from kvbench import versions
from kvbench.bench.quality.one_forward import cached_logits
from kvbench.caches import make
from kvbench.costs import forward as costs
from kvbench.costs.layer_map import owners_in
from kvbench.engine.backend import settle
from kvbench.engine.generate import generate
from kvbench.engine.static_step import StaticStep
from kvbench.files.foreign import FormatError
from kvbench.models import export, hf_files, hf_tensors
from kvbench.models.build import build
from kvbench.models.hf_config import read_shape, shape_of
from kvbench.models.weights import random_tensors, save
from kvbench.plan.cells import cell
from kvbench.plan.config import load_schema, resolve
from kvbench.presets import PRESETS

EVERY = pytest.mark.parametrize("family", FAMILIES)
CACHES = dict.fromkeys(versions.cache_name(version) for version in versions.VERSIONS)


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """The directory of each family."""
    folder = tmp_path_factory.mktemp("models")
    return {family: tiny_models.saved(family, folder / str(i)) for i, family in enumerate(FAMILIES)}


@pytest.fixture(scope="module")
def models(directories):
    """(shape, our model of it) of each family, in fp32."""
    found = {}
    for family, folder in directories.items():
        shape = read_shape(folder / "config.json")
        found[family] = shape, build(shape, "own", "float32", folder, device="cpu")
    return found


def some_tokens(B, T):
    return torch.randint(157, (B, T), generator=torch.Generator().manual_seed(1))


@EVERY
def test_logits_tokens_and_perplexity_are_those_of_transformers(family, directories, models):
    assert len(list(directories[family].glob("*.safetensors"))) > 5
    theirs, (_, ours), ids = tiny_models.tiny(family), models[family], some_tokens(2, 40)
    with torch.inference_mode():
        expected = theirs(ids).logits
        found = ours(ids, make("none", ours.config, 2, 40, ours.lm_head.weight), last_only=False)
        continued = ids[:, :9]
        for _ in range(32):
            newest = theirs(continued).logits[:, -1:].argmax(-1)
            continued = torch.cat([continued, newest], 1)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    cache = make("dense", ours.config, 2, 41, ours.lm_head.weight)
    assert torch.equal(generate(ours, ids[:, :9], 32, cache), continued)
    perplexity = [
        torch.nn.functional.cross_entropy(x[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).exp()
        for x in (expected, found)
    ]
    torch.testing.assert_close(*perplexity, rtol=1e-4, atol=0)


@EVERY
def test_both_dialects_of_a_config_say_the_same_shape(family, directories, models):
    config = json.loads((directories[family] / "config.json").read_text())
    old = tiny_models.in_old_dialect(config)
    assert shape_of(old) == shape_of(config) == models[family][0]
    harmless = {"some_new_key": 3, "transformers_version": "9", "attention_dropout": 0.1}
    assert shape_of(config | harmless) == shape_of(config)


@EVERY
def test_parameters_are_counted(family, models):
    shape, model = models[family]
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert sum(costs.n_params(shape, range(shape["n_layer"])).values()) == counted
    parts = [part for parts in hf_tensors.ours(shape).values() for part in parts]
    assert sum(math.prod(part.size) for part in parts) == counted


@EVERY
@pytest.mark.parametrize("layer_map", ["own", "pairs"])
def test_a_cached_model_continues_as_the_uncached_one(family, layer_map, directories, models):
    shape, ids = models[family][0], some_tokens(2, 11)
    model = build(shape, layer_map, "float32", directories[family], device="cpu")
    whole = generate(model, ids, 30, make("none", model.config, 2, 41, model.lm_head.weight))
    dense = make("dense", model.config, 2, 41, model.lm_head.weight)
    assert torch.equal(generate(model, ids, 30, dense), whole)
    in_chunks = make("dense", model.config, 2, 41, model.lm_head.weight)
    with torch.inference_mode():
        for begin, end in ((0, 5), (5, 17), (17, 18), (18, 40)):
            logits = model(whole[:, begin:end], in_chunks)
    assert torch.equal(logits[:, -1].argmax(-1), whole[:, 40])


@EVERY
@pytest.mark.parametrize("layer_map", ["own", "pairs"])
def test_a_file_of_seeded_weights_serves_every_layer_map(family, layer_map, models, tmp_path):
    shape = models[family][0]
    tensors = dict(random_tensors(build(shape, "own", "float32", device="cpu"), 42))
    save(tmp_path / "random.safetensors", tensors, source="random", seed=42)
    read, drawn = (
        build(shape, layer_map, "float32", path, 42, "cpu").state_dict()
        for path in (tmp_path / "random.safetensors", None)
    )
    assert read.keys() == drawn.keys()
    assert all(torch.equal(read[name], drawn[name]) for name in read)


@pytest.mark.parametrize("name", [name for name in CACHES if name != "none"])
@pytest.mark.parametrize("family", ["gemma3", "mistral, windows", "llama, yarn, tied, head of 80"])
def test_every_cache_decodes_what_one_forward_computes(family, name, models):
    _, model = models[family]
    ids, cache = some_tokens(1, 90), make(stored(name), model.config, 1, 90, model.lm_head.weight)
    with torch.inference_mode():
        one = cached_logits(model, stored(name), ids)
        steps = [model(ids[:, :70], cache)]
        steps += [model(ids[:, i : i + 1], cache) for i in range(70, 90)]
    # Codes may differ where a sum was rounded the other way.
    assert (torch.cat(steps, 1) - one[:, 69:]).abs().max() < 2e-2 * one.abs().max()
    heads = model.config.n_kv_head * costs.head_dim(vars(model.config))
    assert cache.used_bytes() <= 4 * 2 * 4 * heads * 90  # never more than every row in fp32


def test_windows_bound_what_is_kept_and_read(models):
    shape, model = models["gemma3"]
    assert shape["windows"] == [8, 8, 0, 8]
    row = 2 * shape["n_kv_head"] * shape["head_dim"] * 4
    cache = make("dense", model.config, 1, 100, model.lm_head.weight)
    assert cache.reserved_bytes() == row * (3 * 8 + 128)
    model(some_tokens(1, 100), cache)
    assert cache.used_bytes() == row * (3 * 8 + 100)
    cost = costs.forward(shape, range(4), "float32", 1, 100, 1, shape["head_dim"] * 4)
    assert cost.kv_read_bytes == row * (3 * 8 + 101)
    without = costs.forward(shape | {"windows": []}, range(4), "float32", 1, 100, 1, 128)
    pairs = 4 * shape["n_head"] * shape["head_dim"]
    assert without.flop - cost.flop == pairs * 3 * (101 - 8)
    with pytest.raises(ValueError, match="the window has moved on"):
        cache.rewind(50)


@pytest.mark.parametrize("name", ["dense", "int8"])
@pytest.mark.parametrize("family", ["gemma3", "qwen3, head of 96", "gpt_neox", "olmo2"])
def test_a_step_of_one_shape_serves_every_depth(family, name, models):
    _, model = models[family]
    ids, like = some_tokens(2, 12), model.lm_head.weight
    cache = make(stored(name), model.config, 2, 40, like)
    step = StaticStep(model, cache, lambda logits: logits.argmax(-1, keepdim=True))
    expected = generate(model, ids, 25, make(stored(name), model.config, 2, 40, like))
    assert torch.equal(step.generate(ids, 25), expected)


@pytest.mark.parametrize("name", ["dense", "int8", "int4"])
@pytest.mark.parametrize("family", ["gemma3", "qwen3, head of 96", "llama, yarn, tied, head of 80"])
def test_native_kernels_take_every_head_size(family, name, directories, models, library):
    from kvbench.engine.backend import Choice
    from kvbench.engine.fast_cache import with_fast_attention
    from kvbench.engine.packed_linear import pack
    from kvbench.kernels.cpu.library import load

    (shape, model), ids = models[family], some_tokens(1, 12)
    choice = Choice("eager", "native", "panels", native=load(library))
    packed = build(shape, "own", "float32", directories[family], device="cpu")
    pack(packed, choice)
    like = model.lm_head.weight
    expected = make(stored(name), model.config, 1, 40, like)
    fast = with_fast_attention(make(stored(name), model.config, 1, 40, like), choice)
    with torch.inference_mode():
        model(ids, expected), packed(ids, fast)
        for token in some_tokens(1, 40)[0, 12:]:
            a, b = (m(token.view(1, 1), c) for m, c in ((model, expected), (packed, fast)))
            assert (a - b).abs().max() < 2e-2 * a.abs().max()


def test_layers_that_share_k_v_in_the_model_read_the_last_of_their_kind(tmp_path):
    given = {"model_type": "gemma3_text", **tiny_models.SIZES, **tiny_models.GEMMA}
    shape = shape_of(given | {"num_hidden_layers": 6, "num_kv_shared_layers": 3})
    assert shape["kv_owner"] == [0, 1, 2, 1, 1, 2] and shape["windows"] == [8, 8, 0] * 2
    assert owners_in("own", shape) == [0, 1, 2, 1, 1, 2]
    assert owners_in("pairs", shape) == [0, 0, 2, 0, 0, 2]
    model = build(shape, "own", "float32", device="cpu")
    assert model.config.owning_layers == [0, 1, 2]
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert sum(costs.n_params(shape, owners_in("own", shape)).values()) == counted
    ids = some_tokens(1, 11)
    found = [
        generate(model, ids, 20, make(stored(name), model.config, 1, 31, model.lm_head.weight))
        for name in ("none", "dense")
    ]
    assert torch.equal(*found)


REFUSED = [
    ({"model_type": "mixtral"}, "model_type \"mixtral\"|model_type 'mixtral' is not implemented"),
    ({"model_type": ["llama"]}, "is not implemented"),
    ({"final_logit_softcapping": 30.0}, "final_logit_softcapping is 30.0, which is not"),
    ({"num_local_experts": 8}, "num_local_experts is 8, which is not implemented"),
    ({"kv_lora_rank": 512}, "kv_lora_rank is 512, which is not implemented"),
    ({"quantization_config": {"bits": 4}}, "quantization_config is"),
    ({"hidden_act": "relu"}, 'hidden_act is "relu"; allowed: silu'),
    ({"hidden_size": None}, "hidden_size is missing|hidden_size is null"),
    ({"hidden_size": "48"}, 'hidden_size is "48"; allowed: a whole number'),
    ({"num_key_value_heads": 3}, "num_key_value_heads is 3; allowed: divisors"),
    ({"head_dim": 7}, "head_dim is 7; allowed: even"),
    ({"rope_parameters": {"rope_type": "longrope"}}, 'rope_type is "longrope"; allowed: default'),
    ({"rope_parameters": {"rope_type": "linear"}}, "factor is missing"),
    ({"rope_parameters": [1]}, "rope_parameters is [1]; allowed: a mapping"),
    ({"rope_parameters": {"full_attention": [1]}}, "allowed: a mapping for each kind of layer"),
    ({"rope_parameters": {"sliding_attention": 3}}, "allowed: a mapping for each kind of layer"),
    ({"num_hidden_layers": 2**30}, "num_hidden_layers is 1073741824; allowed: a whole number from"),
    ({"num_kv_shared_layers": 4}, "num_kv_shared_layers is 4; allowed"),
    ({"tie_word_embeddings": "yes"}, 'tie_word_embeddings is "yes"; allowed: true or false'),
    ({"rms_norm_eps": -1}, "rms_norm_eps is -1; allowed: a number above 0"),
]


@pytest.mark.parametrize("change, said", REFUSED, ids=[next(iter(c)) for c, _ in REFUSED])
def test_a_config_that_is_not_computed_here_is_refused_by_its_key(tmp_path, change, said):
    given = {"model_type": "llama", **tiny_models.SIZES, **change}
    (tmp_path / "config.json").write_text(json.dumps(given))
    with pytest.raises(FormatError) as refused:
        read_shape(tmp_path / "config.json")
    line = str(refused.value)
    assert "\n" not in line and line.startswith(str(tmp_path)) and len(line) < 400
    assert any(part in line for part in said.split("|"))


@pytest.mark.parametrize("text", ["", "[]", "{", '"llama"', "\xff"])
def test_a_config_that_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match="config.json") as refused:
        read_shape(tmp_path / "config.json")
    assert "\n" not in str(refused.value)


def damaged(folder, how):
    """Do one thing to a directory that its loading must notice."""
    shards = sorted(folder.glob("*.safetensors"))
    index = folder / hf_files.INDEX
    if how == "a shard is gone":
        shards[2].unlink()
    elif how == "a shard is cut short":
        shards[2].write_bytes(shards[2].read_bytes()[:-8])
    elif how == "a wrong shape":
        tiny_models.edit(folder, intermediate_size=88)
    elif how == "another vocabulary":
        tiny_models.edit(folder, vocab_size=158)
    elif how == "a tensor more":
        tiny_models.edit(folder, num_hidden_layers=3)
    elif how == "a tensor less":
        tiny_models.edit(folder, num_hidden_layers=5)
    elif how == "NaN":
        tensors = load_file(shards[2])
        next(iter(tensors.values())).view(-1)[3] = math.nan
        save_file(tensors, shards[2])
    elif how == "whole numbers":
        tensors = load_file(shards[2])
        save_file({name: x.int() for name, x in tensors.items()}, shards[2])
    elif how == "an index of elsewhere":
        index.write_text(json.dumps({"weight_map": {"a": "../b.safetensors"}}))
    elif how == "an empty index":
        index.write_text("{}")
    elif how == "pickles alone":
        for path in [index, *shards]:
            path.unlink()
        torch.save({}, folder / "pytorch_model.bin")


DAMAGE = {
    "a shard is gone": "lacks model-0",
    "a shard is cut short": "lies outside the file",
    "a wrong shape": "by its config.json [88, 48]",
    "another vocabulary": "by its config.json [158, 48]",
    "a tensor more": "which its config.json has no place for",
    "a tensor less": "lacks the tensor layers.4.",
    "NaN": "NaN or infinite numbers",
    "whole numbers": "allowed: floats",
    "an index of elsewhere": "no .safetensors file beside it",
    "an empty index": "not a whole index of shards",
    "pickles alone": "may run code and is not opened",
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_broken_directory_is_refused_in_one_line(tmp_path, how):
    folder = tiny_models.saved("qwen2", tmp_path / "model")
    damaged(folder, how)
    with pytest.raises(FormatError) as refused:
        build(read_shape(folder / "config.json"), "own", "float32", folder, device="cpu")
    line = str(refused.value)
    assert DAMAGE[how] in line and "\n" not in line and str(folder) in line


@EVERY
def test_an_exported_directory_is_read_back_to_the_bit_and_by_transformers(
    family, directories, models, tmp_path
):
    shape, model = models[family]
    export.write(tmp_path / "again", shape, model.state_dict(), shard=50_000)
    assert len(list((tmp_path / "again").glob("*.safetensors"))) > 3
    assert read_shape(tmp_path / "again/config.json") == shape
    theirs = hf_files.tensors(directories[family])
    for name, tensor in hf_files.tensors(tmp_path / "again").items():
        assert tensor.name == theirs[name].name and tensor.size == theirs[name].size
    again = build(shape, "own", "float32", tmp_path / "again", device="cpu").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
    ids = some_tokens(1, 30)
    with torch.inference_mode():
        found = AutoModelForCausalLM.from_pretrained(tmp_path / "again").eval()(ids).logits
        expected = tiny_models.tiny(family)(ids).logits
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_transformers_reads_an_exported_preset(tmp_path, monkeypatch, capsys):
    small = {"n_layer": 2, "n_head": 6, "n_kv_head": 2, "n_embd": 96, "n_inner": 64}
    shape = PRESETS["smollm2"] | small | {"vocab_size": 157, "block_size": 64}
    monkeypatch.setitem(PRESETS, "smollm2", shape)
    model = build(shape, "own", "float32", device="cpu", seed=3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    save(tmp_path / "ours.safetensors", dict(model.named_parameters()))
    files = ["smollm2", str(tmp_path / "ours.safetensors"), str(tmp_path / "SmolLM2")]
    monkeypatch.setattr("sys.argv", ["export", *files, "--shard", "60000"])
    export.main()
    assert "SmolLM2: llama, float32" in capsys.readouterr().out
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "SmolLM2").eval()
    ours = build(read_shape(tmp_path / "SmolLM2/config.json"), "own", "float32",
                 tmp_path / "SmolLM2", device="cpu")  # fmt: skip
    ids = some_tokens(1, 30)
    with torch.inference_mode():
        found = [cached_logits(m, "none", ids) for m in (model, ours)]
        expected = theirs(ids).logits
    assert torch.equal(*found)
    assert (found[0] - expected).abs().max() < 1e-4 * expected.abs().max()


def test_what_the_fused_step_lacks_runs_as_torch_s_operators_and_says_why():
    pytest.importorskip("triton")
    config = resolve({"pretrained": ["qwen3-0.6b", "gemma-3-1b", "llama-3.2-1b"]}, load_schema())
    reasons = {
        (preset, version): (choice.execution, choice.kernel, choice.reason)
        for preset in config["pretrained"]
        for version in ("v1", "v10")
        for choice in [settle(cell(config, "latency", preset, version, batch=1, T=8), "cuda")]
    }
    assert reasons["llama-3.2-1b", "v1"] == ("graph", "triton", None)
    assert reasons["qwen3-0.6b", "v1"] == ("graph", "torch", "the fused step has no QK-norm")
    assert reasons["gemma-3-1b", "v1"][:2] == ("graph", "torch")
    ring = "the fused step reads no ring of rows"
    assert reasons["llama-3.2-1b", "v10"] == ("graph", "torch", ring)
