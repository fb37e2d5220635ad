"""A GGUF file as a directory: what transformers computes of the model it was made from."""

import math

import pytest
import tiny_models
import torch

from kvbench.bench.quality.one_forward import cached_logits
from kvbench.files.foreign import FormatError
from kvbench.inputs import gguf_directory, gguf_shape
from kvbench.inputs.gguf import byte_characters
from kvbench.inputs.model_tokenizer import tokenize_as_model
from kvbench.models.build import build
from kvbench.models.hf_config import read_shape
from kvbench.models.rotation import speeds

gguf = pytest.importorskip("gguf")
SIZES = {**tiny_models.SIZES, "vocab_size": 259}
GEMMA = {**SIZES, **tiny_models.GEMMA, "sliding_window_pattern": 6, "num_hidden_layers": 7}
LLAMA3 = {**tiny_models.LLAMA3, "low_freq_factor": 1.5, "original_max_position_embeddings": 48}
PUBLISHED = {**tiny_models.LLAMA3, "rope_theta": 5e5, "original_max_position_embeddings": 8192}
FAMILIES = {  # of transformers, and the architecture's name in a file
    "llama": {"model_type": "llama", **SIZES, "attention_bias": True, "mlp_bias": True},
    "llama, llama3 rope": {"model_type": "llama", **SIZES, "rope_parameters": PUBLISHED},
    "llama, other factors": {
        **{"model_type": "llama", **SIZES, "head_dim": 64, "rope_parameters": LLAMA3},
        "tie_word_embeddings": True,
    },
    "llama, linear rope": {
        **{"model_type": "llama", **SIZES},
        "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 10_000.0},
    },
    "qwen2": {"model_type": "qwen2", **SIZES, "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", **SIZES, "head_dim": 24},
    "qwen3, yarn": {"model_type": "qwen3", **SIZES, "rope_parameters": tiny_models.YARN},
    "olmo2": {"model_type": "olmo2", **SIZES},
    "gemma3": {"model_type": "gemma3_text", **GEMMA, "query_pre_attn_scalar": 32},
    "smollm3": {"model_type": "smollm3", **SIZES, "num_hidden_layers": 5},
}
tiny_models.MORE |= {f"{name}, every byte": config for name, config in FAMILIES.items()}
NAMES = {f"model.{theirs}": ours for theirs, ours in gguf_directory.NAMES.items()}
NAMES["lm_head"] = "output"


def module_name(kind, module):
    """What llama.cpp's converter calls a module of a layer."""
    after = gguf_directory.NORMS_AFTER if kind in ("olmo2", "gemma3") else {}
    return (gguf_directory.NAMES | after)[module]


def factors(rope, size):
    """The tensor that llama.cpp's converter makes of Llama 3's scaling."""
    plain = speeds(size, rope["rope_theta"])
    turns = rope["original_max_position_embeddings"] * plain / (2 * math.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return 1 / ((1 - kept) / rope["factor"] + kept)


def add_rope(writer, kind, config):
    """The keys and tensors of rotary positions."""
    rope, size = config.rope_parameters, config.hidden_size // config.num_attention_heads
    if kind == "gemma3":
        writer.add_sliding_window(config.sliding_window)
        rope = rope["full_attention"]
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "llama3":
        size = getattr(config, "head_dim", None) or size
        writer.add_tensor("rope_freqs.weight", factors(rope, size).numpy())
    elif rope["rope_type"] != "default":
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def file_of(family, path, change=lambda writer: None, skip=()):
    """The tiny model of a family as a GGUF file in fp32, and the model."""
    model, kind = tiny_models.tiny(f"{family}, every byte"), family.partition(",")[0]
    config = model.config
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_context_length(config.max_position_embeddings)
    add_rope(writer, kind, config)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if getattr(config, "head_dim", None):
        writer.add_key_length(config.head_dim)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(["<|end|>", *byte_characters(), "th", "the"])
    writer.add_token_types([3, *[1] * 258])
    writer.add_token_merges(["t h", "th e"])
    change(writer)
    for name, tensor in model.state_dict().items():
        module, form = name.rsplit(".", 1)
        if module == "lm_head" and config.tie_word_embeddings or module in skip:
            continue
        parts = module.split(".")
        known = NAMES.get(module) or module_name(kind, ".".join(parts[3:]))
        x = tensor.float().clone()
        if kind == "gemma3" and module.endswith("norm"):
            x += 1
        if kind in ("llama", "smollm3") and parts[-1] in (
            "q_proj",
            "k_proj",
        ):  # as llama.cpp stores them
            heads = config.num_attention_heads if parts[-1] == "q_proj" else 2
            x = x.view(heads, 2, -1, *x.shape[1:]).transpose(1, 2).reshape(x.shape)
        ours = f"{known}.{form}" if module in NAMES else f"blk.{parts[2]}.{known}.{form}"
        writer.add_tensor(ours, x.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_converted_file_gives_the_logits_of_the_model_it_was_made_from(family, tmp_path):
    theirs = file_of(family, tmp_path / "model.gguf")
    assert gguf_directory.write(tmp_path / "model.gguf", tmp_path / "out")
    shape = read_shape(tmp_path / "out/config.json")
    ours = build(shape, "own", "float32", tmp_path / "out", device="cpu")
    ids = torch.randint(259, (1, 30), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = theirs(ids).logits, cached_logits(ours, "none", ids)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    found = tokenize_as_model("the path", tmp_path / "out/tokenizer.json")
    assert len(found.tokens) == 5 and found.token_bytes[found.tokens].sum() == 8


@pytest.mark.parametrize(
    "change, said",
    [
        (
            lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE),
            "llama.rope.scaling.type is 'longrope'; allowed: none, linear, yarn",
        ),
        (lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.YARN), "scaling.factor is None"),
        (lambda w: more(w, "rope_freqs.weight", 1.0, 9.0, 1, 1, 1, 2), "holds other factors than"),
        (lambda w: more(w, "rope_freqs.weight", 1.0), "rope_freqs.weight is no row of 6 numbers"),
        (lambda w: more(w, "rope_freqs.weight", *[math.nan] * 6), "is no row of 6 numbers"),
        (lambda w: more(w, "blk.0.ffn_gate_exps.weight", 1.0), "blk.0.ffn_gate_exps.weight, which"),
        (lambda w: w.add_expert_count(8), "llama.expert_count is 8, which is not implemented"),
        (lambda w: w.add_final_logit_softcapping(30.0), "final_logit_softcapping is 30.0, which"),
        (lambda w: w.add_causal_attention(False), "llama.attention.causal is false"),
        (lambda w: w.add_sliding_window(9), "llama.attention.sliding_window is 9; allowed in"),
        (lambda w: w.add_rope_dimension_count(8), "dimension_count is 8; allowed: a head's 12"),
        (lambda w: w.add_value_length(8), "value_length is 8; allowed: a head's 12"),
    ],
)
def test_what_changes_the_mathematics_is_refused(change, said, tmp_path):
    refused(tmp_path, said, change)


def more(writer, name, *numbers):
    writer.add_tensor(name, torch.tensor(numbers).numpy())


def test_a_missing_tensor_and_another_architecture_are_refused(tmp_path):
    refused(tmp_path, "it lacks the tensor output_norm.weight", skip=("model.norm",))
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    refused(tmp_path, f"'mamba'; allowed: {', '.join(gguf_shape.ARCHITECTURES)}", made=True)


def refused(tmp_path, said, change=lambda writer: None, skip=(), made=False):
    """What a file's conversion says, in one line that begins with the file."""
    if not made:
        file_of("llama", tmp_path / "model.gguf", change, skip)
    with pytest.raises(FormatError) as error:
        gguf_directory.write(tmp_path / "model.gguf", tmp_path / "out")
    line = str(error.value)
    assert (
        said in line
        and "\n" not in line
        and line.startswith(str(tmp_path))
        and not (tmp_path / "out").exists()
    )


def test_a_tokenizer_that_begins_with_bos_still_does(tmp_path):
    def with_bos(writer):
        writer.add_bos_token_id(0)
        writer.add_add_bos_token(True)

    file_of("llama", tmp_path / "model.gguf", with_bos)
    assert gguf_directory.write(tmp_path / "model.gguf", tmp_path / "out")
    found = tokenize_as_model("the path", tmp_path / "out/tokenizer.json")
    assert found.prefix.tolist() == [0] and len(found.tokens) == 5
