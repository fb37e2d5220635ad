"""A GGUF file as a directory: what transformers computes of the model it was made from."""

import pytest
import tiny_models
import torch

from kvbench.bench.quality.one_forward import cached_logits
from kvbench.files.foreign import FormatError
from kvbench.inputs import gguf_directory
from kvbench.inputs.gguf import byte_characters
from kvbench.inputs.model_tokenizer import tokenize_as_model
from kvbench.models.build import build
from kvbench.models.hf_config import read_shape

gguf = pytest.importorskip("gguf")
SIZES = {**tiny_models.SIZES, "vocab_size": 259}
FAMILIES = {kind: f"{kind}, every byte" for kind in gguf_directory.ARCHITECTURES}
tiny_models.MORE |= {
    "llama, every byte": {"model_type": "llama", **SIZES},
    "qwen2, every byte": {"model_type": "qwen2", **SIZES, "tie_word_embeddings": True},
    "qwen3, every byte": {"model_type": "qwen3", **SIZES, "head_dim": 24},
}
NAMES = {f"model.{theirs}": ours for theirs, ours in gguf_directory.NAMES.items()}
NAMES["lm_head"] = "output"


def file_of(kind, path, change=lambda writer: None, skip=()):
    """The tiny model of an architecture as a GGUF file in fp32, and the model."""
    model = tiny_models.tiny(FAMILIES[kind])
    config = model.config
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if kind == "qwen3":
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
        known = NAMES.get(module) or gguf_directory.NAMES[".".join(parts[3:])]
        x = tensor.float().clone()
        if kind == "llama" and parts[-1] in ("q_proj", "k_proj"):  # as llama.cpp stores them
            heads = config.num_attention_heads if parts[-1] == "q_proj" else 2
            x = x.view(heads, 2, -1, x.shape[1]).transpose(1, 2).reshape(x.shape)
        ours = f"{known}.{form}" if module in NAMES else f"blk.{parts[2]}.{known}.{form}"
        writer.add_tensor(ours, x.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_converted_file_gives_the_logits_of_the_model_it_was_made_from(kind, tmp_path):
    theirs = file_of(kind, tmp_path / "model.gguf")
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
    "change, skip, said",
    [
        (lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.YARN), (), "rope.scaling.type is"),
        (lambda w: w.add_tensor("rope_freqs.weight", torch.ones(6).numpy()), (), "rope_freqs"),
        (lambda w: None, ("model.norm",), "it lacks the tensor output_norm.weight"),
    ],
)
def test_what_is_not_of_these_is_refused(change, skip, said, tmp_path):
    file_of("llama", tmp_path / "model.gguf", change, skip)
    with pytest.raises(FormatError, match=said) as refused:
        gguf_directory.write(tmp_path / "model.gguf", tmp_path / "out")
    line = str(refused.value)
    assert "\n" not in line and line.startswith(str(tmp_path)) and not (tmp_path / "out").exists()
