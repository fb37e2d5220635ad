"""A model's directory as Hugging Face lays it out: its files, and which tensors make ours.

config.json; model.safetensors, or model.safetensors.index.json and its shards; a tokenizer.
Standard library only: what is wrong is said before any job.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kvbench.costs.forward import head_dim
from kvbench.files import Json
from kvbench.files.foreign import FormatError, json_object, reading, safetensors_header, unwrapped
from kvbench.shape import Shape

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
HUB = "hub.json"  # of a model of the hub: its repository, commit and files, kvbench.inputs.hub
TOKENIZER, GPT2_TOKENIZER = "tokenizer.json", ("vocab.json", "merges.txt")
OUTER = ("language_model.", "transformer.", "gpt_neox.", "model.")  # names of what holds the layers
# Tensors of files that are no parameters of a model: masks, angles, the copy of a tied head.
IGNORED = ("rotary_emb.inv_freq", ".attn.bias", "attention.bias", "masked_bias")
HEADS = ("lm_head.weight", "embed_out.weight")

HALVES, THREE, TRANSPOSED = "halves", "three", "transposed"


class DirectoryError(FormatError):
    """A directory that cannot be used, and why, in one line."""


class Stored(NamedTuple):
    """One tensor of a file."""

    file: Path
    name: str  # in the file
    dtype: str
    size: list[int]
    offset: int  # of its first byte in the file


class Part(NamedTuple):
    """What one of theirs gives to a tensor of ours, one after the other along its rows.

    `order` of its rows: as ours; HALVES, q or k whose pairs are channels i and i + half; THREE, q,
    k and v of each head in turn; or TRANSPOSED, (inputs, outputs).
    """

    name: str  # without what is in front of its layers
    size: list[int]
    order: str = ""


def held(folder: str | Path) -> set[str]:
    """The names of a directory's files, those of a model of the hub that a job fetches included."""
    names = {path.name for path in Path(folder).glob("*") if path.is_file()}
    return names | set(from_hub(folder).get("files", ()))


def from_hub(folder: str | Path) -> Json:
    """What a directory says of its model of the hub; empty for another directory."""
    about = Path(folder) / HUB
    if not about.is_file():
        return {}
    needs, kind = {"repository": str, "commit": str}, "description of a model of the hub"
    found = json_object(about, kind, needs, refusal=DirectoryError)
    if not isinstance(found.get("files"), list):
        raise DirectoryError(f"{about} is no whole {kind}: it lists no files; delete it")
    return found


def files(folder: str | Path) -> list[str]:
    """The files of a directory that a job reads: config.json, then all that hold weights.

    Raises DirectoryError where one is missing.
    """
    folder, names = Path(folder), held(folder)
    config, index = folder / CONFIG, folder / INDEX
    if not config.is_file():
        raise DirectoryError(f"{folder} holds no {CONFIG}")
    if not index.is_file():
        if SINGLE not in names:
            raise DirectoryError(f"{folder} holds neither {SINGLE} nor {INDEX}{_pickles(names)}")
        return [str(config), str(folder / SINGLE)]
    shards = sorted(set(_weight_map(index).values()))
    for name in shards:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise DirectoryError(f"{index} names {name!r}, no .safetensors file beside it")
        if name not in names:
            raise DirectoryError(f"{folder} lacks {name}, one of {len(shards)} in {INDEX}")
    return [str(config), str(index), *(str(folder / name) for name in shards)]


def _pickles(names: set[str]) -> str:
    found = sorted(name for name in names if name.endswith(".bin"))
    return f"; {found[0]} may run code and is not opened: save it as safetensors" if found else ""


def _weight_map(index: Path) -> dict[str, str]:
    with reading(index, "index of shards", DirectoryError):
        found = json.loads(index.read_bytes())["weight_map"]
        if not found or not all(isinstance(name, str) for name in found.values()):
            raise ValueError("its weight_map names no files")
        return dict(found)


def tensors(folder: str | Path) -> dict[str, Stored]:
    """Every tensor of a directory by its inner name. Raises DirectoryError."""
    paths, folder = files(folder), Path(folder)
    found: dict[str, Stored] = {}
    for path in (Path(path) for path in paths if path.endswith(".safetensors")):
        for name, entry in safetensors_header(path, DirectoryError).tensors.items():
            found[inner(name)] = Stored(path, name, *entry)
    if (folder / INDEX).is_file():
        for name, shard in _weight_map(folder / INDEX).items():
            if inner(name) not in found:
                raise DirectoryError(f"{folder / shard} lacks {name}, which {INDEX} says it holds")
    return found


def inner(name: str) -> str:
    """A tensor's name without wrappers and without what holds the layers."""
    name = unwrapped(name)
    for outer in OUTER:
        name = name.removeprefix(outer)
    return name


def tokenizer_file(folder: str | Path) -> str | None:
    """The file of a directory's tokenizer, the first of two for GPT-2's own; None without one."""
    there = held(folder)
    for names in ((TOKENIZER,), GPT2_TOKENIZER):
        if there.issuperset(names):
            return str(Path(folder) / names[0])
    return None


def cut_short(path: str | Path) -> bool:
    """Whether a JSON file has no object's two ends: enough to see an empty or a partial one."""
    text = Path(path).read_bytes().strip()
    return not (text.startswith(b"{") and text.endswith(b"}"))


def problem(folder: str | Path, shape: Shape) -> str | None:
    """Why a directory's tensors are not those of its shape, in one line; None where they are."""
    try:
        found = tensors(folder)
    except FormatError as error:
        return str(error)
    expected = {part.name: part.size for parts in ours(shape).values() for part in parts}
    for name in expected:
        if name not in found:
            return f"{folder} lacks the tensor {name} of its {CONFIG}"
        if found[name].size != expected[name]:
            return (
                f"{folder}: {found[name].name} is {found[name].size} in "
                f"{found[name].file.name}, by its {CONFIG} {expected[name]}"
            )
        if found[name].dtype not in ("F64", "F32", "F16", "BF16"):
            return f"{folder}: {found[name].name} is {found[name].dtype}; allowed: floats"
    for name in sorted(found.keys() - expected.keys()):
        if not name.endswith(IGNORED) and name not in HEADS:
            return (
                f"{folder} has the tensor {found[name].name}, which its {CONFIG} has no place for"
            )
    return None


def ours(shape: Shape) -> dict[str, list[Part]]:
    """By the name of each of our tensors, the parts of theirs that make it."""
    if shape["arch"] == "llama":
        return dict(_llama(shape))
    return dict(_gpt_neox(shape) if shape.get("rope_share") else _gpt2(shape))


Named = Iterator[tuple[str, list[Part]]]


def _llama(shape: Shape) -> Named:
    d, inner, hs = shape["n_embd"], shape["n_inner"], head_dim(shape)
    heads = {"q": shape["n_head"], "k": shape["n_kv_head"], "v": shape["n_kv_head"]}
    yield "transformer.wte.weight", [Part("embed_tokens.weight", [shape["vocab_size"], d])]
    yield "transformer.norm_f.weight", [Part("norm.weight", [d])]
    if not shape.get("tied", True):
        yield "lm_head.weight", [Part("lm_head.weight", [shape["vocab_size"], d])]
    norms = {
        "pre": {"norm_1": "input_layernorm", "norm_2": "post_attention_layernorm"},
        "post": {"post_1": "post_attention_layernorm", "post_2": "post_feedforward_layernorm"},
    }
    norms["both"] = norms["post"] | {"norm_1": "input_layernorm"}
    norms["both"]["norm_2"] = "pre_feedforward_layernorm"
    owner = shape.get("kv_owner") or range(shape["n_layer"])
    for i in range(shape["n_layer"]):
        our, their = f"transformer.h.{i}.", f"layers.{i}."
        rows = {x: n for x, n in heads.items() if x == "q" or owner[i] == i}
        for form, further in (("weight", [d]), ("bias", [])):
            if form == "weight" or shape.get("qkv_bias"):
                yield (
                    f"{our}attn.c_attn.{form}",
                    [
                        Part(
                            f"{their}self_attn.{x}_proj.{form}",
                            [n * hs, *further],
                            HALVES * (x != "v"),
                        )
                        for x, n in rows.items()
                    ],
                )
            if form == "weight" or shape.get("o_bias"):
                size = [d, heads["q"] * hs] if further else [d]
                yield f"{our}attn.c_proj.{form}", [Part(f"{their}self_attn.o_proj.{form}", size)]
            if form == "weight" or shape.get("mlp_bias"):
                for part, name in (("c_gate", "gate"), ("c_fc", "up")):
                    size = [inner, *further]
                    yield f"{our}mlp.{part}.{form}", [Part(f"{their}mlp.{name}_proj.{form}", size)]
                size = [d, inner] if further else [d]
                yield f"{our}mlp.c_proj.{form}", [Part(f"{their}mlp.down_proj.{form}", size)]
        if shape.get("qk_norm", "none") != "none":
            for x in [x for x in rows if x != "v"]:
                size = [heads[x] * hs if shape["qk_norm"] == "whole" else hs]
                norm = Part(f"{their}self_attn.{x}_norm.weight", size, HALVES)
                yield f"{our}attn.{x}_norm.weight", [norm]
        for at, name in norms[shape.get("norm", "pre")].items():
            yield f"{our}{at}.weight", [Part(f"{their}{name}.weight", [d])]


def _gpt_neox(shape: Shape) -> Named:
    d, inner, V = shape["n_embd"], shape.get("n_inner") or 4 * shape["n_embd"], shape["vocab_size"]
    yield "transformer.wte.weight", [Part("embed_in.weight", [V, d])]
    if not shape.get("tied", True):
        yield "lm_head.weight", [Part("embed_out.weight", [V, d])]
    for form, further in (("weight", True), ("bias", False)):
        yield f"transformer.ln_f.{form}", [Part(f"final_layer_norm.{form}", [d])]
        for i in range(shape["n_layer"]):
            our, their = f"transformer.h.{i}.", f"layers.{i}."
            for ln, name in (("ln_1", "input_layernorm"), ("ln_2", "post_attention_layernorm")):
                yield f"{our}{ln}.{form}", [Part(f"{their}{name}.{form}", [d])]
            for our_part, name, out, width, order in (
                ("attn.c_attn", "attention.query_key_value", 3 * d, d, THREE),
                ("attn.c_proj", "attention.dense", d, d, ""),
                ("mlp.c_fc", "mlp.dense_h_to_4h", inner, d, ""),
                ("mlp.c_proj", "mlp.dense_4h_to_h", d, inner, ""),
            ):
                size = [out, width] if further else [out]
                yield f"{our}{our_part}.{form}", [Part(f"{their}{name}.{form}", size, order)]


def _gpt2(shape: Shape) -> Named:
    d, inner, V = shape["n_embd"], shape.get("n_inner") or 4 * shape["n_embd"], shape["vocab_size"]
    yield "transformer.wte.weight", [Part("wte.weight", [V, d])]
    yield "transformer.wpe.weight", [Part("wpe.weight", [shape["block_size"], d])]
    if not shape.get("tied", True):
        yield "lm_head.weight", [Part("lm_head.weight", [V, d])]
    for form in ("weight", "bias"):
        yield f"transformer.ln_f.{form}", [Part(f"ln_f.{form}", [d])]
        for i in range(shape["n_layer"]):
            for ln in ("ln_1", "ln_2"):
                yield f"transformer.h.{i}.{ln}.{form}", [Part(f"h.{i}.{ln}.{form}", [d])]
            for name, width, out in (
                ("attn.c_attn", d, 3 * d),
                ("attn.c_proj", d, d),
                ("mlp.c_fc", d, inner),
                ("mlp.c_proj", inner, d),
            ):
                their = f"h.{i}.{name}.{form}"
                matrix = Part(their, [width, out], TRANSPOSED)
                yield f"transformer.{their}", [Part(their, [out]) if form == "bias" else matrix]
