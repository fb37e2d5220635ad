"""Weights files: seeded, foreign, borrowed, refused."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from kvbench.caches import make
from kvbench.files.foreign import safetensors_header
from kvbench.models import weights
from kvbench.models.build import build

SHAPE = {
    **{"arch": "gpt2", "n_layer": 3, "n_head": 2, "n_embd": 16, "block_size": 12},
    **{"vocab_size": 29, "weights": "random"},
}
C = SHAPE["n_embd"]
LLAMA = {**SHAPE, "arch": "llama", "n_head": 4, "n_kv_head": 2, "n_inner": 40}
WIDE = {**LLAMA, "head_dim": 2 * LLAMA["n_embd"] // LLAMA["n_head"]}  # twice n_embd together


def random_file(path, shape):
    model = build(shape, dtype="bfloat16", seed=1, device="cpu")
    weights.save(path, dict(model.named_parameters()), source="random", seed=1)
    return path


@pytest.fixture
def file(tmp_path):
    """A file of random weights, seed 1."""
    return random_file(tmp_path / "random-1.safetensors", SHAPE)


def refusal(path):
    with pytest.raises(weights.WeightsError) as refused:
        build(SHAPE, dtype="float32", weights=str(path), device="cpu")
    assert "\n" not in str(refused.value) and str(path) in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("head_dim", [8, 16], ids=["n_embd over n_head", "twice that"])
def test_a_llama_gives_the_logits_of_hugging_face_s(tmp_path, head_dim):
    """Theirs turns channel i with i + hs / 2, ours with its neighbour: rows of Q and K move."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {**LLAMA, "n_embd": 32, "block_size": 12, "head_dim": head_dim}
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"hidden_size": 32, "intermediate_size": 40, "vocab_size": 29, "head_dim": head_dim}
    theirs = LlamaForCausalLM(
        LlamaConfig(**sizes, rms_norm_eps=1e-5, rope_theta=100_000.0, tie_word_embeddings=True)
    ).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    state = theirs.state_dict()

    def neighbours(rows):  # (heads * hs, C), halves of each head -> pairs
        return rows.view(-1, 2, head_dim // 2, 32).transpose(1, 2).reshape(rows.shape)

    tensors = {"transformer.wte.weight": state["model.embed_tokens.weight"]}
    tensors["transformer.norm_f.weight"] = state["model.norm.weight"]
    for i in range(3):
        names = {"norm_1": "input_layernorm", "norm_2": "post_attention_layernorm"}
        names |= {"attn.c_proj": "self_attn.o_proj", "mlp.c_gate": "mlp.gate_proj"}
        names |= {"mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj"}
        at = f"model.layers.{i}."
        for ours, name in names.items():
            tensors[f"transformer.h.{i}.{ours}.weight"] = state[f"{at}{name}.weight"]
        q, k, v = (state[f"{at}self_attn.{part}_proj.weight"] for part in "qkv")
        fused = torch.cat([neighbours(q), neighbours(k), v])
        tensors[f"transformer.h.{i}.attn.c_attn.weight"] = fused
    weights.save(tmp_path / "llama.safetensors", tensors)
    model = build(shape, "own", "float32", str(tmp_path / "llama.safetensors"), device="cpu")
    idx = torch.randint(29, (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        cache = make("none", model.config, 2, 12, model.lm_head.weight)
        expected = theirs(idx).logits
        assert expected.std() > 0.3
        ours = model(idx, cache, last_only=False)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_heads_of_an_odd_size_are_refused():
    for wrong in ({"n_embd": 20}, {"head_dim": 7}):
        with pytest.raises(ValueError, match="even size"):
            build(LLAMA | wrong, device="cpu")


@pytest.mark.parametrize("shape", [SHAPE, LLAMA, WIDE], ids=["gpt2", "llama", "wide heads"])
@pytest.mark.parametrize("layer_map", ["own", "pairs"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_seed_and_its_file_give_the_same_model(tmp_path, shape, layer_map, dtype):
    file = random_file(tmp_path / "random-1.safetensors", shape)
    seeded = build(shape, layer_map, dtype, seed=1, device="cpu").state_dict()
    loaded = build(shape, layer_map, dtype, weights=str(file), device="cpu").state_dict()
    other = build(shape, layer_map, dtype, seed=2, device="cpu").state_dict()
    assert seeded.keys() == loaded.keys()
    assert all(torch.equal(seeded[name], loaded[name]) for name in seeded)
    assert not torch.equal(seeded["lm_head.weight"], other["lm_head.weight"])


def test_random_weights_are_as_gpt2_is_initialised():
    model = build({**SHAPE, "n_embd": 192}, dtype="float32", seed=1, device="cpu")
    block = model.transformer["h"][0]
    assert block.mlp.c_fc.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.mlp.c_proj.weight.std().item() == pytest.approx(0.02 / 6**0.5, rel=0.02)
    assert block.ln_1.weight.eq(1).all() and block.attn.c_attn.bias.eq(0).all()


def test_a_borrower_takes_the_query_rows(file):
    own = build(SHAPE, "own", "float32", weights=str(file), device="cpu").transformer["h"]
    shared = build(SHAPE, "pairs", "float32", weights=str(file), device="cpu").transformer["h"]
    assert torch.equal(shared[1].attn.c_attn.weight, own[1].attn.c_attn.weight[:C])
    assert torch.equal(shared[2].attn.c_attn.weight, own[2].attn.c_attn.weight)


@pytest.fixture(scope="module")
def theirs():
    """A tiny GPT2LMHeadModel with weights far from zero, so that a wrong transpose shows."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_layer": 3, "n_head": 2, "n_embd": C, "n_positions": 12, "vocab_size": 29}
    model = GPT2LMHeadModel(GPT2Config(**sizes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("part", ["with a head", "without its prefix", "with causal masks"])
def test_a_hugging_face_checkpoint_gives_its_logits(theirs, part, tmp_path):
    (theirs.transformer if part == "without its prefix" else theirs).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    if part == "with causal masks":
        mask = torch.ones(1, 1, 12, 12).tril().bool()
        masks = {f"transformer.h.{i}.attn.bias": mask.clone() for i in range(3)}
        state = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
        save_file({**state, **masks}, path)
    model = build(SHAPE, dtype="float32", weights=str(path), device="cpu")
    idx = torch.randint(29, (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours = model(idx, make("none", model.config, 2, 12, model.lm_head.weight), last_only=False)
        expected = theirs(idx).logits
    assert expected.std() > 0.3
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_the_hub_gives_our_names_and_offline_says_what_to_do(theirs, monkeypatch):
    hub = SimpleNamespace(GPT2LMHeadModel=SimpleNamespace(from_pretrained=lambda preset: theirs))
    monkeypatch.setitem(sys.modules, "transformers", hub)
    tensors, revision = weights.from_hub("gpt2")
    expected = dict(build(SHAPE, dtype="float32", device="cpu").named_parameters())
    assert {name: t.shape for name, t in tensors.items()} == {
        n: p.shape for n, p in expected.items()
    }
    assert revision is None

    def offline(preset):
        raise OSError("We couldn't connect\nto the hub")

    hub.GPT2LMHeadModel.from_pretrained = offline
    with pytest.raises(OSError, match="go online.*random weights.*connect to the hub"):
        weights.from_hub("gpt2")


def test_a_pickle_is_never_opened(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.zeros(1)}, path)
    assert "no job opens one" in refusal(path)
    renamed = path.rename(tmp_path / "renamed.safetensors")
    assert "not a whole safetensors file" in refusal(renamed)


def test_a_truncated_file_is_refused(file):
    file.write_bytes(file.read_bytes()[:-1])
    assert "not a whole safetensors file" in refusal(file)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda t: t.pop("transformer.ln_f.bias"), "lacks tensors: transformer.ln_f.bias;"),
        (lambda t: t.update(extra=torch.zeros(2)), "adds tensors: transformer.extra;"),
        (
            lambda t: t.update({"transformer.wpe.weight": torch.zeros(5, C)}),
            "transformer.wpe.weight is [5, 16], the model needs [12, 16]",
        ),
        (lambda t: t.update({"lm_head.weight": torch.zeros(29, C)}), "only tied heads"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_naming_the_tensor(file, change, said):
    tensors = dict(weights.read(file))
    change(tensors)
    weights.save(file, tensors)
    assert said in refusal(file)


def test_equal_weights_are_equal_files_that_say_where_they_come_from(file, tmp_path):
    again = tmp_path / "again.safetensors"
    weights.save(again, weights.read(file), seed=1, source="random")
    assert again.read_bytes() == file.read_bytes()
    about = safetensors_header(again).about
    assert len(about.pop("sha256")) == 64 and about.pop("sums") > 0
    assert about == {"source": "random", "seed": 1}


@pytest.mark.parametrize("at", [0, 3, 8 * weights.WORDS - 1, 8 * weights.WORDS + 5, -1])
def test_sums_see_every_byte_that_changes(at):
    data = torch.arange(8 * weights.WORDS + 77).to(torch.uint8)
    before = weights.tensors_sums({"w": data})
    data[at] += 1
    assert weights.tensors_sums({"w": data}) != before
    swapped = torch.cat([torch.zeros(8 * weights.WORDS), torch.ones(8 * weights.WORDS)])
    halves = [swapped, swapped.flip(0)]
    assert len({weights.tensors_sums({"w": half.to(torch.uint8)}) for half in halves}) == 2


@pytest.mark.parametrize("key", ["crc32", "sha256"])
def test_files_with_older_sums_are_checked_by_them(file, tmp_path, key):
    tensors = weights.read(file)
    old = tmp_path / "old.safetensors"
    about = {key: getattr(weights, f"tensors_{key}")(tensors)}
    save_file(tensors, old, {"kvbench": json.dumps(about)})
    assert weights.read(old).keys() == tensors.keys()
    save_file(tensors, old, {"kvbench": json.dumps({key: 1})})
    with pytest.raises(weights.WeightsError, match="corrupted"):
        weights.read(old)
