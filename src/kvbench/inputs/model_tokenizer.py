"""The tokenizer of a model's directory, by the library `tokenizers`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kvbench.files import Json
from kvbench.files.foreign import reading
from kvbench.inputs.tokens import Tokens
from kvbench.models.hf_files import GPT2_TOKENIZER

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")  # a byte that no other token spells
SOME_TEXT = "a"
SPACE = "\u2581"  # stands for a space in vocabularies of SentencePiece


def load(path: str | Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json, or of a vocab.json with merges.txt beside it.

    Raises FormatError for another file.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    path = Path(path)
    with reading(path, "tokenizer"):
        if path.name != GPT2_TOKENIZER[0]:
            found = Tokenizer.from_file(str(path))
        else:
            merges = str(path.with_name(GPT2_TOKENIZER[1]))
            found = Tokenizer(models.BPE.from_file(str(path), merges))
            found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            found.decoder = decoders.ByteLevel()
    found.no_truncation()
    found.no_padding()
    return found


def encoder(tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """What gives the ids of a text, without the special tokens that a prompt begins with."""

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    return encode


def prefix(tokenizer: Tokenizer) -> list[int]:
    """The special tokens that a sequence begins with, as its post-processor says: BOS, or none."""
    text = encoder(tokenizer)(SOME_TEXT)
    whole: list[int] = tokenizer.encode(SOME_TEXT, add_special_tokens=True).ids
    starts = range(len(whole) - len(text) + 1)
    return next((whole[:i] for i in starts if whole[i : i + len(text)] == text), [])


def tokenize_as_model(text: str, path: str | Path) -> Tokens:
    """All of `text`, with the special tokens that a prompt begins with as the prefix alone."""
    tokenizer = load(path)
    ids, lengths = encoder(tokenizer)(text), token_bytes(tokenizer)
    return Tokens(
        np.array(ids, np.uint16 if len(lengths) <= 2**16 else np.uint32),
        lengths.astype(np.uint8 if lengths.max() < 2**8 else np.uint16),
        prefix=np.array(prefix(tokenizer), np.int64),
    )


def token_bytes(tokenizer: Tokenizer) -> np.ndarray:
    """The bytes of text that each id stands for: 0 for a control token, 1 for an unknown piece."""
    said: Json = json.loads(tokenizer.to_str())
    byte_level = "ByteLevel" in json.dumps([said["pre_tokenizer"], said["decoder"]])
    ids = tokenizer.get_vocab(with_added_tokens=True)
    lengths = np.zeros(max(ids.values()) + 1, np.int64)
    for token, i in ids.items():
        if byte_level:
            lengths[i] = len(token)  # a character for each byte
        else:
            piece = token.replace(SPACE, " ").removeprefix(
                said["model"].get("continuing_subword_prefix") or ""
            )
            lengths[i] = 1 if BYTE.fullmatch(token) else len(piece.encode())
    for added in said["added_tokens"]:
        lengths[added["id"]] = 0 if added["special"] else len(added["content"].encode())
    unknown = said["model"].get("unk_token")
    if isinstance(unknown, str) and unknown in ids:
        lengths[ids[unknown]] = 1
    return lengths
