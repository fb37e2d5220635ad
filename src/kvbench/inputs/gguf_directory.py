"""A GGUF file as a directory of Hugging Face's: config.json, weights and tokenizer.

    python -m kvbench.inputs.gguf_directory Qwen3-0.6B-Q8_0.gguf models/Qwen3-0.6B-Q8_0

Of the architectures of `kvbench.inputs.gguf_shape`. Weights are what the file's codes stand for, in
fp32, so that nothing is rounded again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kvbench.files.foreign import FormatError, reading
from kvbench.inputs.gguf import NORMAL, field, floats, open_gguf
from kvbench.inputs.gguf_shape import OUR_ORDER, shape_in
from kvbench.models import export
from kvbench.models.hf_files import TOKENIZER
from kvbench.models.hf_tensors import ours
from kvbench.models.hf_weights import ordered
from kvbench.models.weights import WeightsError
from kvbench.shape import Shape

if TYPE_CHECKING:
    import gguf
    from tokenizers import Tokenizer

NAMES = {  # of modules: theirs by Hugging Face's
    **{"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"},
    **{f"self_attn.{x}_proj": f"attn_{x}" for x in "qkv"},
    **{f"self_attn.{x}_norm": f"attn_{x}_norm" for x in "qk"},
    **{f"mlp.{x}_proj": f"ffn_{x}" for x in ("gate", "up", "down")},
    **{"self_attn.o_proj": "attn_output", "input_layernorm": "attn_norm"},
    "post_attention_layernorm": "ffn_norm",
}
NORMS_AFTER = {  # likewise, where layers have norms after attention and feed-forward
    "pre_feedforward_layernorm": "ffn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
NO_WEIGHTS = ("rope_freqs.weight", "attn_rot_embd.weight")  # ends of names of angles
TAIL = r"|\p{N}{1,%d}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+" + TAIL
# How text is cut into words before merges, by tokenizer.ggml.pre: a pattern, or None for GPT-2's.
PATTERNS = {
    **dict.fromkeys(("gpt-2", "default", "smollm")),
    **{"qwen2": WORDS % 1},
    **dict.fromkeys(("llama-bpe", "llama3", "dbrx", "smaug-bpe"), WORDS % 3),
}


def tensors_in(reader: gguf.GGUFReader, shape: Shape) -> dict[str, Tensor]:
    """Every weight in fp32 under our names and in our order. Raises WeightsError for one missing.

    Rows of q and k lie in our order in files of OUR_ORDER, in Hugging Face's in the others. Norms
    with an offset are stored with it added.
    """
    held = {tensor.name: tensor for tensor in reader.tensors}
    in_our_order = field(reader, "general.architecture") in OUR_ORDER
    names = NAMES | (NORMS_AFTER if shape.get("norm", "pre") != "pre" else {})
    known: set[str] = set()

    def one(part: Any) -> Tensor:
        module, form = part.name.rsplit(".", 1)
        block = module.split(".")[1] if module.startswith("layers.") else None
        inner = module.split(".", 2)[2] if block else module
        name = f"blk.{block}.{names[inner]}.{form}" if block else f"{names[inner]}.{form}"
        known.add(name)
        if name not in held:
            raise WeightsError(f"it lacks the tensor {name}")
        found = floats(held[name])
        if list(found.shape) != part.size:
            raise WeightsError(f"{name} is {[*found.shape]}, its metadata say {part.size}")
        if shape.get("norm_offset") and name.endswith("norm.weight"):
            found -= 1
        return found if in_our_order else ordered(found, part, shape)

    found = {name: torch.cat([one(part) for part in parts]) for name, parts in ours(shape).items()}
    for name in sorted(held.keys() - known):
        if not name.endswith(NO_WEIGHTS):
            raise WeightsError(f"it has the tensor {name}, which its architecture has no place for")
    return found


def tokenizer_in(reader: gguf.GGUFReader) -> Tokenizer | None:
    """The tokenizer of byte-level merges that a file holds; None where it holds another kind."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        processors,
    )

    pre = reader.get_field("tokenizer.ggml.pre")
    pre = pre.contents() if pre else "default"
    if field(reader, "tokenizer.ggml.model") != "gpt2" or pre not in PATTERNS:
        return None
    tokens, types, merges = (
        field(reader, f"tokenizer.ggml.{key}") for key in ("tokens", "token_type", "merges")
    )
    vocabulary = {token: i for i, token in enumerate(tokens)}
    pairs, pattern = [tuple(merge.split(" ")) for merge in merges], PATTERNS[pre]
    whole = pre in ("llama-bpe", "llama3")  # a word that is a token is not merged
    found = Tokenizer(models.BPE(vocabulary, pairs, ignore_merges=whole))
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
    begins = reader.get_field("tokenizer.ggml.add_bos_token")
    if begins.contents() if begins else whole:
        bos = field(reader, "tokenizer.ggml.bos_token_id")
        template = {"single": f"{tokens[bos]} $A", "special_tokens": [(tokens[bos], bos)]}
        found.post_processor = processors.TemplateProcessing(**template)
    return found


def write(path: str | Path, folder: str | Path) -> bool:
    """Write `path` as a directory; returns whether a tokenizer is in it.

    Raises FormatError for a file that is no whole GGUF file of these architectures.
    """
    reader = open_gguf(path)
    with reading(path, "GGUF file"):
        try:
            shape = shape_in(reader)
            export.config_json(shape)
            tensors, tokenizer = tensors_in(reader, shape), tokenizer_in(reader)
        except (WeightsError, export.NoModelTypeError) as error:
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
