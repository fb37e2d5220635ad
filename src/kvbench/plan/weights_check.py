"""What a weights file of one's own says before any job reads it: shape, settings, numbers.

Light, as `kvbench.plan.config_checks`, which calls it. numpy is imported where there are numbers to
look at and where it is installed; without it the first job that loads the file looks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kvbench.files import Json
from kvbench.files.foreign import FormatError, Header, reading, safetensors_header, unwrapped
from kvbench.models import hf_files
from kvbench.shape import Shape

TANH = ("gelu_new", "gelu_pytorch_tanh")  # names of one function
LARGEST = {"float32": 3.4028235e38, "bfloat16": 3.3895314e38, "float16": 65504.0}
RAW = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # as numpy reads them
CHUNK = 2**24  # numbers looked at together
SMALL = 2**28  # bytes of a directory whose numbers are looked at whenever a run is planned
# config.json's keys: what each must be for the architectures that we have, by our shape's key or
# as a constant. The activation is asked of the study.
SETTINGS: dict[str, Json] = {
    "gpt2": {
        "n_layer": "n_layer",
        "n_head": "n_head",
        "n_embd": "n_embd",
        "n_positions": "block_size",
        "vocab_size": "vocab_size",
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
    },
    "llama": {
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "num_key_value_heads": "n_kv_head",
        "hidden_size": "n_embd",
        "intermediate_size": "n_inner",
        "rope_theta": "rope_base",
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
    },
}


def problem(path: str, preset: str, shape: Shape, dtype: str) -> str | None:
    """Why a file cannot be the weights of a preset of this shape, in one line; None where it can.

    `shape` has the key `activation`, None where the study leaves it open.
    """
    try:
        header = safetensors_header(path)
        with reading(path, "safetensors file"):
            return (
                _settings_problem(path, header, preset, shape)
                or _shape_problem(header, preset, shape)
                or _numbers_problem(path, header, dtype)
            )
    except FormatError as error:
        return str(error)


def directory_problem(folder: str, shape: Shape, dtype: str) -> str | None:
    """Why a directory's files cannot be the weights of its shape; None where they can.

    Numbers of a directory of no more than SMALL bytes are looked at; of others, when it is loaded.
    So are all tensors of a model of the hub that a job fetches first.
    """
    try:
        paths = hf_files.files(folder)
    except FormatError as error:
        return str(error)
    if hf_files.from_hub(folder) and not all(Path(path).is_file() for path in paths):
        return None
    if why := hf_files.problem(folder, shape):
        return why
    shards = [path for path in paths if path.endswith(".safetensors")]
    if sum(Path(path).stat().st_size for path in shards) > SMALL:
        return None
    for path in shards:
        with reading(path, "safetensors file"):
            if why := _numbers_problem(path, safetensors_header(path), dtype):
                return f"{path}: {why}"
    return None


def not_calibrated(shape: Shape) -> str | None:
    """What of a shape the closed-form fit of a borrower (`kvbench.inputs.share_kv`) lacks."""
    odd = {
        "QK-norm": shape.get("qk_norm", "none") != "none",
        "sliding windows": any(shape.get("windows", ())),
        "layers without positions": bool(shape.get("no_rope")),
        "norms after its layers": shape.get("norm", "pre") != "pre",
        "positions on a part of a head": shape.get("rope_share", 1) not in (0, 1),
        "queries of their own scale": bool(shape.get("query_scale")),
        "layers that share K/V already": shape.get("kv_owner") is not None,
    }
    return next((name for name, given in odd.items() if given), None)


def _settings_problem(path: str, header: Header, preset: str, shape: Shape) -> str | None:
    """What the file or the config.json beside it says and this model does not do."""
    config_file, said = Path(path).with_name("config.json"), Json()
    if config_file.is_file():
        with reading(config_file, "JSON mapping"):
            said = dict(json.loads(config_file.read_bytes()))
    wanted = SETTINGS[shape["arch"]]
    for key, ours in wanted.items():
        value = shape.get(ours) if isinstance(ours, str) and ours in shape else ours
        if key in said and said[key] != value:
            return f"{config_file} says {key} {said[key]!r}, {preset} has {value!r}"
    if shape["arch"] != "gpt2":
        return None
    named = said.get("activation_function", header.about.get("activation"))
    asked, custom = shape["activation"], preset == "custom"
    if named is None and custom and asked is None:
        return (
            "nothing says which GELU it was trained with: set model_config.activation to gelu_new "
            "(the tanh form, as OpenAI and Hugging Face) or gelu (exact, as nanoGPT)"
        )
    if named in TANH:
        named = "gelu_new"
    if named not in (None, asked or "gelu_new"):
        cure = "set model_config.activation" if custom else "give it to preset custom"
        return f"its activation is {named!r}, {preset} has {asked or 'gelu_new'!r}: {cure}"
    return None


def _shape_problem(header: Header, preset: str, shape: Shape) -> str | None:
    """Where sizes differ, by the configuration's names for them."""
    if shape["arch"] != "gpt2":
        return None
    sizes = {_inner(name): entry[1] for name, entry in header.tensors.items()}
    layers = {name.split(".")[1] for name in sizes if name.startswith("h.")}
    found = {"n_layer": len(layers)}
    for name, rows in (("wte.weight", "vocab_size"), ("wpe.weight", "block_size")):
        if len(sizes.get(name, ())) != 2:
            return f"it has no {name}, the embeddings of a GPT-2"
        found[rows], found["n_embd"] = sizes[name]
    ours = dict(shape)
    for key, size in found.items():
        if size != ours[key]:
            where = f"model_config.{key}" if preset == "custom" else f"{key} of {preset}"
            return f"its {key} is {size}, {where} is {ours[key]}"
    return None


def _inner(name: str) -> str:
    return unwrapped(name).removeprefix("transformer.")


def _numbers_problem(path: str, header: Header, dtype: str) -> str | None:
    """The first tensor with NaN, infinities, or numbers too large for the study's dtype."""
    if "sha256" in header.about:  # written by this workflow, which writes no such numbers
        return None
    try:
        import numpy as np
    except ImportError:
        return None
    for name, (kind, sizes, offset) in header.tensors.items():
        count, raw = int(np.prod(sizes, dtype=np.int64)), RAW.get(kind)
        if count and raw:
            numbers = np.memmap(path, raw, "r", offset, (count,))
            for part in _parts(numbers):
                if kind == "BF16":
                    part = (part.astype("<u4") << 16).view("<f4")
                if not np.abs(part).max() <= LARGEST[dtype]:
                    return f"{name} has NaN, infinite or, for {dtype}, too large numbers"
    return None


def _parts(numbers: Any) -> Iterator[Any]:
    for begin in range(0, len(numbers), CHUNK):
        yield numbers[begin : begin + CHUNK]
