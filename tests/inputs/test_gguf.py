"""A Llama and its tokenizer out of a GGUF file that the test writes."""

import base64
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from damage import damaged, read_or_refused
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.inputs import gguf as gguf_model
from kvbench.inputs import tokens as text
from kvbench.models import weights
from kvbench.models.build import build

gguf = pytest.importorskip("gguf")

SHAPE = {
    **{"arch": "llama", "n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 64, "n_inner": 96},
    **{"block_size": 32, "vocab_size": 259, "rope_base": 10_000.0, "weights": "gguf"},
}
WIDTHS = {"q": (64, 64), "k": (32, 64), "v": (32, 64), "output": (64, 64)}
WIDTHS = {f"attn_{part}": size for part, size in WIDTHS.items()}
WIDTHS |= {"ffn_gate": (96, 64), "ffn_up": (96, 64), "ffn_down": (64, 96)}
WIDTHS |= {"attn_norm": (64,), "ffn_norm": (64,)}
LATIN = st.characters(max_codepoint=0x24F)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A GGUF file with matrices in Q8_0 and merges, and the tensors it was made from."""
    path, draw = tmp_path_factory.mktemp("gguf") / "model.gguf", np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_context_length(32)
    writer.add_vocab_size(259)
    writer.add_rope_freq_base(10_000.0)
    chars = gguf_model.byte_characters()
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<|endoftext|>", *chars, "th", "the"])
    writer.add_token_types([3] + [1] * 258)
    writer.add_token_merges(["t h", "th e"])
    sizes = {"token_embd": (259, 64), "output_norm": (64,)}
    sizes |= {f"blk.{i}.{name}": size for i in range(2) for name, size in WIDTHS.items()}
    tensors = {name: draw.standard_normal(size, np.float32) for name, size in sizes.items()}
    for name, tensor in tensors.items():
        if tensor.ndim == 1:
            writer.add_tensor(f"{name}.weight", tensor)
            continue
        kind = gguf.GGMLQuantizationType.Q8_0
        blocks = gguf.quants.quantize(tensor, kind)
        writer.add_tensor(f"{name}.weight", blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, tensors


def test_weights_are_dequantised_under_our_names(made, tmp_path):
    path, theirs = made
    ours = gguf_model.tensors(gguf_model.open_gguf(path), SHAPE)
    for i in range(2):
        fused = torch.cat([torch.from_numpy(theirs[f"blk.{i}.attn_{part}"]) for part in "qkv"])
        error = (ours[f"transformer.h.{i}.attn.c_attn.weight"] - fused).abs().max()
        assert error < 0.51 * fused.abs().max() / 127  # half a step of Q8_0
        norm = ours[f"transformer.h.{i}.norm_2.weight"]
        assert torch.equal(norm, torch.from_numpy(theirs[f"blk.{i}.ffn_norm"]))
    weights.save(tmp_path / "gguf.safetensors", ours, source="gguf")
    model = build(SHAPE, "pairs", "float32", str(tmp_path / "gguf.safetensors"), device="cpu")
    assert torch.equal(model.lm_head.weight, ours["transformer.wte.weight"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [np.nan, np.inf])
def test_a_scale_that_is_no_number_reaches_the_check_of_weights_without_a_warning(scale):
    kind = gguf.GGMLQuantizationType.Q8_0
    blocks = gguf.quants.quantize(np.ones((1, 64), np.float32), kind)
    blocks[:, :2] = np.array([scale], np.float16).view(np.uint8)
    read = gguf_model.floats(SimpleNamespace(data=blocks, tensor_type=kind))
    assert not read[0, :32].isfinite().all() and read[0, 32:].isfinite().all()


def test_a_model_of_another_shape_is_refused(made):
    reader = gguf_model.open_gguf(made[0])
    with pytest.raises(weights.WeightsError, match="n_kv_head 2 for 4"):
        gguf_model.tensors(reader, {**SHAPE, "n_kv_head": 4})


def test_ranks_spell_every_normal_token(made):
    lines = gguf_model.ranks(gguf_model.open_gguf(made[0])).splitlines()
    tokens = {base64.b64decode(token): int(i) for token, i in map(str.split, lines)}
    assert tokens == {**{bytes([b]): b + 1 for b in range(256)}, b"th": 257, b"the": 258}


@given(st.text(LATIN, max_size=40) | st.text("a1 5'st\n."))
@settings(max_examples=150, deadline=None)
def test_words_are_those_of_smollm(words):
    """Against the tokenizers library: digits alone, then GPT-2's words of what is between them."""
    import regex
    from tokenizers import pre_tokenizers

    parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    theirs = pre_tokenizers.Sequence(parts).pre_tokenize_str(words)
    byte_of = {char: byte for byte, char in enumerate(gguf_model.byte_characters())}
    expected = [bytes(byte_of[char] for char in word).decode() for word, _ in theirs]
    assert regex.findall(text.SMOLLM_PATTERN, words) == expected


def test_a_damaged_gguf_file_is_read_or_refused(made, tmp_path):
    path, whole = tmp_path / "damaged.gguf", made[0].read_bytes()
    head = whole[: whole.index(b"token_embd") + 400]  # all but numbers, where damage is in reach

    @settings(max_examples=60, deadline=None)
    @given(damaged(head))
    def check(data):
        path.write_bytes(data + whole[len(head) :])
        with read_or_refused(path, weights.WeightsError):
            gguf_model.open_gguf(path)

    check()


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<4sIQQQ2s", b"GGUF", 3, 0, 1, 2, b"\xff\xfe"),
        struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 10**12) + b"abc",
        struct.pack("<4sIQQ", b"GGUF", 3, 2**63, 2**63),
        struct.pack("<4sIQQQ1sI", b"GGUF", 3, 0, 1, 1, b"x", 9) + struct.pack("<IQ", 9, 1) * 9000,
        b"GGUF",
        b"",
    ],
    ids=["a key of other bytes", "an endless string", "endless counts", "nested", "magic", "empty"],
)
def test_a_malformed_gguf_file_is_refused_at_once(tmp_path, data):
    path = tmp_path / "malformed.gguf"
    path.write_bytes(data)
    with read_or_refused(path, weights.WeightsError):
        gguf_model.open_gguf(path)
        pytest.fail("it was read")
