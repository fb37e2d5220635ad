"""A model's directory as Hugging Face lays it out: its files and tensors.

config.json; model.safetensors, or model.safetensors.index.json and its shards; a tokenizer.
Standard library only: what is wrong is said before any job.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from kvbench.files import Json
from kvbench.files.foreign import FormatError, json_object, reading, safetensors_header, unwrapped
from kvbench.models.hf_tensors import ours
from kvbench.shape import Shape

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
HUB = "hub.json"  # of a model of the hub: its repository, commit and files, kvbench.inputs.hub
TOKENIZER, GPT2_TOKENIZER = "tokenizer.json", ("vocab.json", "merges.txt")
OUTER = ("language_model.", "transformer.", "gpt_neox.", "model.")  # names of what holds the layers
# Tensors of files that are no parameters of a model: masks, angles, the copy of a tied head.
IGNORED = ("rotary_emb.inv_freq", ".attn.bias", "attention.bias", "masked_bias")
HEADS = ("lm_head.weight", "embed_out.weight")


class DirectoryError(FormatError):
    """A directory that cannot be used, and why, in one line."""


class Stored(NamedTuple):
    """One tensor of a file."""

    file: Path
    name: str  # in the file
    dtype: str
    size: list[int]
    offset: int  # of its first byte in the file


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
