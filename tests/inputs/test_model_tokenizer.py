"""Tokenizers of directories: ids as `tokenizers` gives them, and the bytes that each stands for."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from kvbench.files.foreign import FormatError
from kvbench.inputs.model_tokenizer import load, token_bytes, tokenize_as_model
from kvbench.inputs.tokens import load_tokens, write_tokens

TEXT = "The cafés of Zürich, 12 of them:  naïve — and 漢字 too.\n" * 3


def byte_level():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"]
    )
    made.train_from_iterator([TEXT], trainer)
    return made


def with_byte_fallback():
    """As Llama 2's and Gemma's: spaces as U+2581, what no piece spells byte by byte."""
    spelt = ["<unk>", *(f"<0x{i:02X}>" for i in range(256)), "\u2581", *"Theofand", "\u2581o", "an"]
    vocabulary = {piece: i for i, piece in enumerate(spelt)}
    merges = [("\u2581", "o"), ("a", "n")]
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "\u2581")
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Replace("\u2581", " ")])
    return made


@pytest.mark.parametrize("make", [byte_level, with_byte_fallback])
def test_tokens_stand_for_every_byte_of_the_text(tmp_path, make):
    made = make()
    made.save(str(tmp_path / "tokenizer.json"))
    found = tokenize_as_model(TEXT, tmp_path / "tokenizer.json")
    assert found.tokens.tolist() == made.encode(TEXT, add_special_tokens=False).ids
    assert int(found.token_bytes[found.tokens].sum()) == len(TEXT.encode())
    write_tokens(tmp_path / "text.npz", found)
    again = load_tokens(tmp_path / "text.npz", made.get_vocab_size())
    assert np.array_equal(again.tokens, found.tokens)


def test_control_tokens_are_no_text_and_more_than_two_bytes_of_ids_fit(tmp_path):
    made = byte_level()
    made.add_tokens([f"word{i}" for i in range(70_000)])
    made.save(str(tmp_path / "tokenizer.json"))
    found = tokenize_as_model("The word69999", tmp_path / "tokenizer.json")
    assert found.tokens.dtype == np.uint32 and found.tokens[-1] > 2**16
    assert found.token_bytes[found.tokens[-1]] == len("word69999")
    assert token_bytes(made)[made.token_to_id("<s>")] == 0
    write_tokens(tmp_path / "text.npz", found)
    with pytest.raises(FormatError, match="the model 300 embeddings"):
        load_tokens(tmp_path / "text.npz", 300)


def test_gpt2_s_two_files_are_one_tokenizer(tmp_path):
    made = byte_level()
    made.model.save(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"vocab.json", "merges.txt"}
    assert load(tmp_path / "vocab.json").encode(TEXT).ids == made.encode(TEXT).ids


@pytest.mark.parametrize("text", ["", "{}", json.dumps({"model": {"type": "New"}})])
def test_what_is_no_tokenizer_is_refused(tmp_path, text):
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(FormatError, match="tokenizer.json is not a whole tokenizer") as refused:
        load(tmp_path / "tokenizer.json")
    assert "\n" not in str(refused.value)
