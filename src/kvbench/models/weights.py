"""Weights as safetensors files: made from a seed, taken from the model hub, put into a model.

Names in the files are nanoGPT's (`transformer.h.0.attn.c_attn.weight`, ...); a tied head is not
stored. Files of Hugging Face's GPT2LMHeadModel are read as well.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kvbench.files import Json, placeholder, replacing
from kvbench.files.foreign import ABOUT, FormatError, reading, safetensors_header, unwrapped

WORDS = 1 << 17  # of a sum: a megabyte
STD = 0.02  # GPT-2's initialisation
IGNORED = (".attn.bias", ".attn.masked_bias")  # causal masks of old Hugging Face files
HEAD, EMBEDDING = "lm_head.weight", "transformer.wte.weight"
UNTIED = f"{HEAD} differs from {EMBEDDING}: only tied heads are supported"


class WeightsError(FormatError):
    """A weights file that cannot be used, and why, in one line."""


def random_tensors(model: nn.Module, seed: int) -> Iterator[tuple[str, Tensor]]:
    """GPT-2's initialisation of every parameter, tensor by tensor: bfloat16, borrowed K/V included.

    Matrices are normal with standard deviation 0.02, those that write into the residual stream
    0.02 / sqrt(2 n_layer); biases 0, norms 1. Rounded to bfloat16: random weights time and weigh
    the same, and their files are half as large. The numbers do not depend on the layer map.
    """
    config: Any = model.config
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        rows, *columns = parameter.shape
        if ".attn.c_attn." in name:
            rows = (config.n_head + 2 * config.n_kv_head) * config.head_dim
        tensor = torch.empty(rows, *columns)
        if tensor.ndim == 1:
            offset = getattr(config, "norm_offset", False)  # norms multiply by 1 + weight
            tensor.fill_(0.0 if name.endswith(".bias") or offset else 1.0)
        else:
            residual = name.endswith(".c_proj.weight")
            std = STD / math.sqrt(2 * config.n_layer) if residual else STD
            tensor.normal_(std=std, generator=generator)
        yield name, tensor.bfloat16()


def init_random(model: nn.Module, seed: int) -> None:
    """Fill the parameters with the very numbers that a file of random_tensors holds."""
    for name, tensor in random_tensors(model, seed):
        _copy(name, tensor, model.get_parameter(name), _query_rows(model))


def load(model: nn.Module, path: str | Path) -> None:
    """Copy a safetensors file into the model's parameters, cast to their dtype.

    A layer that borrows its K/V takes the query rows of the file's c_attn (q, k, v), and no norm of
    keys. Raises WeightsError for another format and for unknown, missing or ill-shaped tensors.
    """
    tensors, about = _read(path)
    names = dict(model.named_parameters())
    owner: Sequence[int] = getattr(model.config, "owner", ())
    for layer in [layer for layer, owns in enumerate(owner) if owns != layer]:
        tensors.pop(f"transformer.h.{layer}.attn.k_norm.weight", None)
    if HEAD in names:
        tensors.setdefault(HEAD, tensors.get(EMBEDDING, torch.empty(0)))
    elif HEAD in tensors:
        raise WeightsError(f"{path}: {UNTIED}")
    for problem, wrong in (("lacks", names.keys() - tensors), ("adds", tensors.keys() - names)):
        if wrong:
            some = ", ".join(sorted(wrong)[:3]) + (", ..." if len(wrong) > 3 else "")
            raise WeightsError(f"{path} {problem} tensors: {some}; it is not of this model's shape")
    for name, parameter in names.items():
        try:
            _copy(name, tensors[name], parameter, _query_rows(model))
        except ValueError as error:
            raise WeightsError(f"{path} does not fit this model: {error}") from None
        if "sha256" not in about and not is_finite(parameter):  # `save` writes no others
            dtype = str(parameter.dtype).removeprefix("torch.")
            raise WeightsError(f"{path}: {name} has NaN or infinite numbers, in {dtype}")


def is_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite: seen by their sum, and one by one where that is not."""
    return bool(tensor.detach().sum().isfinite() or tensor.isfinite().all())


def _query_rows(model: nn.Module) -> int:
    """Rows of a c_attn that make queries; all of them in a layer without K/V of its own."""
    config: Any = model.config
    return config.n_head * config.head_dim


@torch.no_grad()
def _copy(name: str, tensor: Tensor, parameter: Tensor, query_rows: int) -> None:
    """Cast and copy one tensor; only the query rows for a layer without K/V of its own."""
    if ".attn.c_attn." in name and len(parameter) == query_rows < len(tensor):
        tensor = tensor[:query_rows]
    if not tensor.is_floating_point():
        raise ValueError(f"{name} holds whole numbers, {tensor.dtype}, not weights")
    if tensor.shape != parameter.shape:
        raise ValueError(f"{name} is {[*tensor.shape]}, the model needs {[*parameter.shape]}")
    parameter.copy_(tensor)


def read(path: str | Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file under our names, mapped into memory.

    Raises WeightsError for a file in any other format, since a pickle is never opened, and for a
    file of `save` whose tensors are not those it was given (0.1 s per gigabyte to see);
    NotMeasuredError for one that could not be had.
    """
    return _read(path)[0]


def _read(path: str | Path) -> tuple[dict[str, Tensor], Json]:
    """The tensors of `read`, and what `save` recorded about the file."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{path} is not a .safetensors file; a pickle can run code, so no job opens one: "
            f"convert it once, python -m kvbench.models.convert {path} FILE.safetensors"
        )
    with reading(path, "safetensors file", WeightsError):
        placeholder.check(path)
        about = safetensors_header(path, WeightsError).about
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    checked = {"sums": tensors_sums, "crc32": tensors_crc32, "sha256": tensors_sha256}  # new to old
    first = next((name for name in checked if name in about), None)
    if first and about[first] != checked[first](tensors):
        raise WeightsError(f"{path} is corrupted: not the tensors it was made with; delete it")
    try:
        return to_our_names(tensors), about
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def to_our_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of nanoGPT or of GPT2LMHeadModel, with or without `transformer.`, as nanoGPT's.

    A head that is the embedding is left out.
    Hugging Face stores the block's matrices as Conv1D, (in, out): they are transposed, as views.
    """
    ours = {}
    for name, tensor in tensors.items():
        if not name.endswith(IGNORED):
            name = our_name(name)
            if name in ours:
                raise WeightsError(f"two tensors go by the name {name}")
            ours[name] = tensor
    if HEAD in ours and torch.equal(ours[HEAD], ours.get(EMBEDDING, ours[HEAD][:0])):
        del ours[HEAD]
    fused = ours.get("transformer.h.0.attn.c_attn.weight")
    if fused is not None and fused.ndim == 2 and fused.shape[1] == 3 * fused.shape[0]:
        for name, tensor in ours.items():
            if tensor.ndim == 2 and ".h." in name:
                ours[name] = tensor.t()
    return ours


def our_name(name: str) -> str:
    """A tensor's name without wrappers, and within `transformer.` unless it is the head's."""
    name = unwrapped(name)
    return name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"


def from_hub(preset: str) -> tuple[dict[str, Tensor], str | None]:
    """GPT-2 of one size from the model hub under our names, and the hub's revision of it.

    Raises OSError, with what to do, if the hub is out of reach.
    """
    from transformers import GPT2LMHeadModel

    try:
        model = GPT2LMHeadModel.from_pretrained(preset)
    except OSError as error:
        raise OSError(
            f"{preset} cannot be fetched from the model hub: go online, give the path of a local "
            f".safetensors file, or use random weights ({' '.join(str(error).split())})"
        ) from None
    return to_our_names(model.state_dict()), getattr(model.config, "_commit_hash", None)


def save(path: str | Path, tensors: Mapping[str, Tensor], **metadata: Any) -> None:
    """Write tensors and where they come from (source, preset, seed, ...), reproducibly.

    The metadata gains the tensors' sha256, so that no cell has to read a whole file to name it, and
    their sums, by which every cell checks what it reads.
    Raises WeightsError for NaN or infinite numbers, which a training that diverged leaves.
    """
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise WeightsError(f"{path}: {name} has NaN or infinite numbers; nothing was written")
    metadata |= {"sha256": tensors_sha256(tensors), "sums": tensors_sums(tensors)}
    # One key: safetensors keeps its metadata in no order, and equal weights must be equal files.
    header = {ABOUT: json.dumps(metadata, sort_keys=True)}
    with replacing(path, ".safetensors") as temporary:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, header
        )


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of names, dtypes, shapes and numbers, whatever the order of the tensors."""
    found = hashlib.sha256()
    for part in _parts(tensors):
        found.update(part)
    return found.hexdigest()


def tensors_sums(tensors: Mapping[str, Tensor]) -> int:
    """The CRC-32 of the sums of `tensors_sha256`'s parts, as 64-bit words, a megabyte at a time.

    Sees what a disk or a copy damages, and words in another megabyte, at the pace of memory.
    """
    found = 0
    for part in _parts(tensors):
        data = np.frombuffer(part, np.uint8)
        whole = data[: len(data) // WORDS // 8 * WORDS * 8].view(np.uint64).reshape(-1, WORDS)
        for some in (data[whole.nbytes :], whole.sum(axis=1)):
            found = zlib.crc32(some.tobytes(), found)
    return found


def tensors_crc32(tensors: Mapping[str, Tensor]) -> int:
    """The CRC-32 of what `tensors_sha256` is of."""
    found = 0
    for part in _parts(tensors):
        found = zlib.crc32(part, found)
    return found


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[Any]:
    """Each tensor's name, dtype and shape, and its bytes, in the order of names."""
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        yield f"{name} {tensor.dtype} {[*tensor.shape]}\n".encode()
        yield tensor.view(-1).view(torch.uint8).numpy().data
