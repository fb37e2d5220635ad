"""A Llama model out of a GGUF file: weights dequantised under our names, and its vocabulary.

Read once, by a conversion job; measuring jobs read safetensors. The `gguf` package does the
arithmetic of each storage format.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kvbench.files import placeholder
from kvbench.files.foreign import reading
from kvbench.models.weights import WeightsError
from kvbench.shape import Shape

if TYPE_CHECKING:
    import gguf

PARTS = {  # of a block: ours from theirs
    "norm_1": ["attn_norm"],
    "attn.c_attn": ["attn_q", "attn_k", "attn_v"],
    "attn.c_proj": ["attn_output"],
    "norm_2": ["ffn_norm"],
    "mlp.c_gate": ["ffn_gate"],
    "mlp.c_fc": ["ffn_up"],
    "mlp.c_proj": ["ffn_down"],
}
KEYS = {  # of a shape: ours from theirs
    "n_layer": "block_count",
    "n_head": "attention.head_count",
    "n_kv_head": "attention.head_count_kv",
    "n_embd": "embedding_length",
    "n_inner": "feed_forward_length",
    "block_size": "context_length",
    "vocab_size": "vocab_size",
    "rope_base": "rope.freq_base",
}
NORMAL = 1  # the token type of text; others are control tokens


def open_gguf(path: str | Path) -> gguf.GGUFReader:
    """Map a GGUF file into memory, and read all but its numbers.

    Raises NotMeasuredError where it could not be had, WeightsError where it is no whole GGUF file.
    """
    import gguf

    class Strict(gguf.GGUFReader):
        """Refuses what the file is too short for, which the reader takes for empty."""

        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            if offset + np.dtype(dtype).itemsize * int(count) > len(self.data):
                raise ValueError(f"it ends before what byte {offset} promises")
            return super()._get(offset, dtype, count, override_order)

    with reading(path, "GGUF file", WeightsError):
        placeholder.check(path)
        return Strict(path)


def tensors(reader: gguf.GGUFReader, shape: Shape) -> dict[str, Tensor]:
    """Every weight in fp32, which holds 4-bit blocks exactly, named as in `kvbench.models.llama`.

    Raises WeightsError for a model of another kind or shape than `shape`.
    """
    asked = dict(shape)
    found = {ours: field(reader, f"llama.{theirs}") for ours, theirs in KEYS.items()}
    wrong = [f"{key} {found[key]} for {asked.get(key)}" for key in KEYS if found[key] != asked[key]]
    names = {tensor.name: tensor for tensor in reader.tensors}
    if wrong or "output.weight" in names:
        raise WeightsError(f"not this shape: {', '.join(wrong) or 'its head is not tied'}")
    ours = {"wte": ["token_embd"], "norm_f": ["output_norm"]}
    for i in range(shape["n_layer"]):
        ours |= {f"h.{i}.{p}": [f"blk.{i}.{t}" for t in theirs] for p, theirs in PARTS.items()}
    return {
        f"transformer.{name}.weight": torch.cat([floats(names[f"{t}.weight"]) for t in theirs])
        for name, theirs in ours.items()
    }


def ranks(reader: gguf.GGUFReader) -> str:
    """The tokenizer's byte-pair merges in tiktoken's format: a token in base64 and its id, a line.

    Ids of byte-level merges rise in the order they were learnt, which is all that merging needs.
    Raises WeightsError where they do not.
    """
    if field(reader, "tokenizer.ggml.model") != "gpt2":
        raise WeightsError("the tokenizer is not of byte-level merges")
    tokens, types, merges = (
        field(reader, f"tokenizer.ggml.{key}") for key in ("tokens", "token_type", "merges")
    )
    ids = {token: i for i, token in enumerate(tokens)}
    merged = [ids["".join(merge.split(" "))] for merge in merges]
    if merged != sorted(merged):
        raise WeightsError("token ids do not follow the order of merges")
    byte_of = {char: byte for byte, char in enumerate(byte_characters())}
    lines = (
        f"{base64.b64encode(bytes(byte_of[char] for char in token)).decode()} {i}\n"
        for i, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind == NORMAL
    )
    return "".join(lines)


def byte_characters() -> list[str]:
    """The character that stands for each byte in byte-level vocabularies: printable ones for all.

    Bytes that Latin-1 prints stand for themselves, the others for the characters from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0x100)} - {0xAD}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def field(reader: gguf.GGUFReader, key: str) -> Any:
    """The value of a key of a file's metadata. Raises WeightsError where there is none."""
    field = reader.get_field(key)
    if field is None:
        raise WeightsError(f"no {key}: not a Llama model with its tokenizer")
    return field.contents()


def floats(tensor: gguf.ReaderTensor) -> Tensor:
    """A tensor's numbers in fp32, whatever its storage format."""
    import gguf

    with np.errstate(all="ignore"):  # a scale that is no number is refused with the weights
        return torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
