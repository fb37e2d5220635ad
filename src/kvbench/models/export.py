"""A model of ours as a directory that transformers reads: config.json and safetensors in shards.

    python -m kvbench.models.export smollm2 resources/weights/smollm2/gguf.safetensors SmolLM2

The directory has no tokenizer. What `kvbench.models.hf_weights` reads is what this writes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from kvbench.costs.forward import head_dim
from kvbench.files import Json, replacing, write_text
from kvbench.files.foreign import FormatError
from kvbench.models.build import DTYPES, build, config_of
from kvbench.models.hf_config import DEFAULTS, read_shape, shape_of
from kvbench.models.hf_files import CONFIG, INDEX, SINGLE
from kvbench.models.hf_tensors import HALVES, THREE, TRANSPOSED, Part, ours
from kvbench.models.hf_weights import neighbours
from kvbench.presets import get_preset
from kvbench.shape import Shape

SHARD = 5 * 10**9  # bytes of a file at most, unless one tensor is larger
PREFIX = {"gpt2": "transformer.", "gpt_neox": "gpt_neox."}
# A shape says none; what transformers takes without these keys may lie outside the vocabulary.
UNKNOWN = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
SIZES = {
    **{"num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "hidden_size": "n_embd"},
    **{"max_position_embeddings": "block_size", "vocab_size": "vocab_size"},
}


class NoModelTypeError(ValueError):
    """A shape that no config.json describes."""


def config_json(shape: Shape) -> Json:
    """The config.json of a shape, in transformers 5's dialect.

    Raises NoModelTypeError where no model_type of theirs that we know computes it.
    """
    asked = config_of(shape)
    for kind in DEFAULTS:
        said = _config(kind, shape, asked)
        try:
            if config_of(shape_of(said)) == asked:
                return said
        except FormatError:
            continue
    raise NoModelTypeError("no model_type of transformers that is known computes this shape")


def _config(kind: str, shape: Shape, asked: Any) -> Json:
    """What config.json would say of a shape if it were of this kind."""
    sizes = dict(shape)
    said = {theirs: sizes[our] for theirs, our in SIZES.items()}
    dtype = {"model_type": kind, "tie_word_embeddings": asked.tied, **UNKNOWN}
    activation = {"gelu_new": "gelu_pytorch_tanh"}.get(asked.activation, asked.activation)
    scaling = dict(getattr(asked, "rope_scaling", None) or {"type": "default"})
    rope = {"rope_theta": asked.rope_base, "rope_type": scaling.pop("type"), **scaling}
    if "original" in rope:
        rope["original_max_position_embeddings"] = rope.pop("original")
    if shape["arch"] == "gpt2":
        own = {key: sizes[key] for key in ("n_layer", "n_head", "n_embd", "vocab_size")}
        if kind == "gpt2":
            eps = {"layer_norm_epsilon": asked.norm_eps, "n_inner": asked.n_inner}
            named = {"activation_function": shape.get("activation", "gelu_new")}
            return dtype | own | eps | named | {"n_positions": shape["block_size"]}
        rope["partial_rotary_factor"] = asked.rope_share
        further = {"intermediate_size": asked.n_inner, "layer_norm_eps": asked.norm_eps}
        parallel = {"use_parallel_residual": asked.parallel, "hidden_act": activation}
        return dtype | said | further | parallel | {"rope_parameters": rope}
    said |= {"intermediate_size": asked.n_inner, "num_key_value_heads": asked.n_kv_head}
    said |= {"head_dim": asked.head_dim, "rms_norm_eps": asked.norm_eps}
    said |= {"attention_bias": asked.o_bias, "mlp_bias": asked.mlp_bias}
    window = max(asked.windows, default=0)
    kinds = ["sliding_attention" if w else "full_attention" for w in asked.windows]
    said |= {"sliding_window": window or None}
    if window and kind != "mistral":
        said |= {"use_sliding_window": True, "layer_types": kinds}
    if kind == "smollm3":
        rotated = [int(layer not in asked.no_rope) for layer in range(asked.n_layer)]
        said |= {"no_rope_layers": rotated}
    if kind == "gemma3_text":
        near = {"rope_theta": asked.window_rope_base or 1e4, "rope_type": "default"}
        rope = {"full_attention": rope, "sliding_attention": near}
        scale = asked.query_scale or asked.head_dim**-0.5
        scalar = round(scale**-2, 6)
        whole = int(scalar) if scalar.is_integer() else scalar  # transformers takes no 256.0
        said |= {"query_pre_attn_scalar": whole, "hidden_activation": activation}
    else:
        said |= {"hidden_act": activation}
    if shape.get("kv_owner"):
        borrowed = sum(i != owner for i, owner in enumerate(shape["kv_owner"]))
        said |= {"num_kv_shared_layers": borrowed}
    return dtype | said | {"rope_parameters": rope}


def their_tensors(shape: Shape, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Each tensor of ours under Hugging Face's names and in its order."""
    kind = config_json(shape)["model_type"]
    for name, parts in ours(shape).items():
        at = 0
        for part in parts:
            n = part.size[-1 if part.order == TRANSPOSED else 0]
            theirs = _ordered(tensors[name][at : at + n], part, shape)
            outer = "" if part.name.startswith(("lm_head", "embed_out")) else "model."
            yield f"{PREFIX.get(kind, outer) if outer else ''}{part.name}", theirs.contiguous()
            at += n


def _ordered(x: Tensor, part: Part, shape: Shape) -> Tensor:
    """The rows of one of our tensors in their order."""
    hs = head_dim(shape)
    if part.order == TRANSPOSED:
        return x.t()
    back = neighbours(hs, shape).argsort()
    if part.order == THREE:
        q, k, v = x.unflatten(0, (3, -1, hs))
        return torch.stack([q[:, back], k[:, back], v], 1).flatten(0, 2)
    return x.unflatten(0, (-1, hs))[:, back].flatten(0, 1) if part.order == HALVES else x


def write(
    folder: str | Path, shape: Shape, tensors: Mapping[str, Tensor], shard: int = SHARD
) -> None:
    """Write a directory: files of at most `shard` bytes, or of one tensor."""
    folder, files = Path(folder), [dict[str, Tensor]()]
    for name, tensor in their_tensors(shape, tensors):
        held = sum(x.nbytes for x in files[-1].values())
        if files[-1] and held + tensor.nbytes > shard:
            files.append({})
        files[-1][name] = tensor
    places: dict[str, str] = {}
    for i, held_here in enumerate(files, 1):
        name = SINGLE if len(files) == 1 else f"model-{i:05d}-of-{len(files):05d}.safetensors"
        places |= dict.fromkeys(held_here, name)
        with replacing(folder / name) as temporary:
            save_file(held_here, temporary, {"format": "pt"})
    if len(files) > 1:
        total = sum(x.nbytes for held_here in files for x in held_here.values())
        index = {"metadata": {"total_size": total}, "weight_map": places}
        write_text(folder / INDEX, json.dumps(index, indent=2))
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    said = config_json(shape) | {"dtype": dtype}
    write_text(folder / CONFIG, json.dumps(said, indent=2) + "\n")


def main() -> None:
    """The command line; 1, and one line, where the model cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m kvbench.models.export", description=__doc__)
    parser.add_argument("model", help="a preset's name, or a directory")
    parser.add_argument("weights", type=Path, help="a safetensors file of ours, or the directory")
    parser.add_argument("folder", type=Path, help="the directory to write")
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32")
    parser.add_argument("--shard", type=int, default=SHARD, help="bytes of a file at most")
    given = parser.parse_args()
    try:
        path = Path(given.model)
        shape = read_shape(path / CONFIG) if path.is_dir() else get_preset(given.model)
        model = build(shape, "own", given.dtype, given.weights, device="cpu")
        write(given.folder, shape, model.state_dict(), given.shard)
    except (FormatError, ValueError) as error:
        sys.exit(str(error))
    print(f"{given.folder}: {config_json(shape)['model_type']}, {given.dtype}")


if __name__ == "__main__":
    main()
