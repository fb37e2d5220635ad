"""A GGUF file as a directory of Hugging Face's: config.json, weights and tokenizer.

    python -m kvbench.inputs.gguf_directory Qwen3-0.6B-Q8_0.gguf models/Qwen3-0.6B-Q8_0

Of the architectures llama, qwen2 and qwen3. Weights are what the file's codes stand for, in fp32,
so that nothing is rounded again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from kvbench.files.foreign import FormatError, reading
from kvbench.inputs.gguf import KEYS, NORMAL, field, floats, open_gguf
from kvbench.models import export
from kvbench.models.hf_files import TOKENIZER, ours
from kvbench.models.hf_weights import ordered
from kvbench.models.weights import WeightsError
from kvbench.shape import Shape

if TYPE_CHECKING:
    import gguf
    from tokenizers import Tokenizer

ARCHITECTURES = ("llama", "qwen2", "qwen3")
NAMES = {  # of modules: theirs by Hugging Face's
    **{"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"},
    **{f"self_attn.{x}_proj": f"attn_{x}" for x in "qkv"},
    **{f"self_attn.{x}_norm": f"attn_{x}_norm" for x in "qk"},
    **{f"mlp.{x}_proj": f"ffn_{x}" for x in ("gate", "up", "down")},
    **{"self_attn.o_proj": "attn_output", "input_layernorm": "attn_norm"},
    "post_attention_layernorm": "ffn_norm",
}
TAIL = r"|\p{N}{1,%d}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+" + TAIL
# How text is cut into words before merges, by tokenizer.ggml.pre: a pattern, or None for GPT-2's.
PATTERNS = {
    **dict.fromkeys(("gpt-2", "default", "smollm")),
    **{"qwen2": WORDS % 1, "llama-bpe": WORDS % 3, "llama3": WORDS % 3},
}


def shape_in(reader: gguf.GGUFReader) -> Shape:
    """The shape that a file's metadata and tensors describe. Raises WeightsError."""
    kind = field(reader, "general.architecture")
    if kind not in ARCHITECTURES:
        raise WeightsError(f"architecture {kind!r}; allowed: {', '.join(ARCHITECTURES)}")
    names = {tensor.name for tensor in reader.tensors}
    if "rope_freqs.weight" in names:
        raise WeightsError("its rope_freqs scale RoPE, which GGUF says without the numbers behind")
    scaling = reader.get_field(f"{kind}.rope.scaling.type")
    if scaling is not None and scaling.contents() != "none":
        raise WeightsError(f"rope.scaling.type is {scaling.contents()!r}; allowed: none")
    found = {o: field(reader, f"{kind}.{t}") for o, t in KEYS.items() if o != "vocab_size"}
    found["vocab_size"] = len(field(reader, "tokenizer.ggml.tokens"))
    size = reader.get_field(f"{kind}.attention.key_length")
    found["head_dim"] = size.contents() if size else found["n_embd"] // found["n_head"]
    eps = field(reader, f"{kind}.attention.layer_norm_rms_epsilon")
    known = {
        "arch": "llama",
        "norm_eps": float(f"{eps:.6g}"),  # stored in fp32
        "rope_base": float(found["rope_base"]),
        "tied": "output.weight" not in names,
        "qkv_bias": "blk.0.attn_q.bias" in names,
        "qk_norm": "head" if "blk.0.attn_q_norm.weight" in names else "none",
    }
    return cast(Shape, found | known)


def tensors_in(reader: gguf.GGUFReader, shape: Shape) -> dict[str, Tensor]:
    """Every weight in fp32 under our names and in our order. Raises WeightsError for one missing.

    Rows of q and k lie in our order in files of llama, in Hugging Face's in the others.
    """
    held = {tensor.name: tensor for tensor in reader.tensors}
    in_our_order = field(reader, "general.architecture") == "llama"

    def one(part: Any) -> Tensor:
        module, form = part.name.rsplit(".", 1)
        block = module.split(".")[1] if module.startswith("layers.") else None
        inner = module.split(".", 2)[2] if block else module
        name = f"blk.{block}.{NAMES[inner]}.{form}" if block else f"{NAMES[inner]}.{form}"
        if name not in held:
            raise WeightsError(f"it lacks the tensor {name}")
        found = floats(held[name])
        if list(found.shape) != part.size:
            raise WeightsError(f"{name} is {[*found.shape]}, its metadata say {part.size}")
        return found if in_our_order else ordered(found, part, shape)

    return {name: torch.cat([one(part) for part in parts]) for name, parts in ours(shape).items()}


def tokenizer_in(reader: gguf.GGUFReader) -> Tokenizer | None:
    """The tokenizer of byte-level merges that a file holds; None where it holds another kind."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    pre = reader.get_field("tokenizer.ggml.pre")
    pre = pre.contents() if pre else "default"
    if field(reader, "tokenizer.ggml.model") != "gpt2" or pre not in PATTERNS:
        return None
    tokens, types, merges = (
        field(reader, f"tokenizer.ggml.{key}") for key in ("tokens", "token_type", "merges")
    )
    vocabulary = {token: i for i, token in enumerate(tokens)}
    found = Tokenizer(models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges]))
    pattern = PATTERNS[pre]
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    first: list[Any] = []
    if pattern is not None:
        first = [pre_tokenizers.Split(Regex(pattern), "isolated")]
    elif pre == "smollm":
        first = [pre_tokenizers.Digits(individual_digits=True)]
    found.pre_tokenizer = pre_tokenizers.Sequence([*first, bytes_of])
    found.decoder = decoders.ByteLevel()
    control = [t for t, kind in zip(tokens, types, strict=True) if kind != NORMAL]
    found.add_special_tokens([AddedToken(token, special=True) for token in control])
    return found


def write(path: str | Path, folder: str | Path) -> bool:
    """Write `path` as a directory; returns whether a tokenizer is in it.

    Raises FormatError for a file that is no whole GGUF file of these architectures.
    """
    reader = open_gguf(path)
    with reading(path, "GGUF file"):
        try:
            shape = shape_in(reader)
            tensors, tokenizer = tensors_in(reader, shape), tokenizer_in(reader)
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from None
    export.write(folder, shape, tensors)
    if tokenizer is not None:
        tokenizer.save(str(Path(folder) / TOKENIZER))
    return tokenizer is not None


def main() -> None:
    """The command line; 1, and one line, where the file cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m kvbench.inputs.gguf_directory", description=__doc__
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path, help="the directory to write")
    given = parser.parse_args()
    try:
        has_tokenizer = write(given.file, given.folder)
    except FormatError as error:
        sys.exit(str(error))
    print(f"{given.folder}: {'with' if has_tokenizer else 'without'} a tokenizer")


if __name__ == "__main__":
    main()
