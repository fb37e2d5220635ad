"""A PyTorch checkpoint of a GPT-2 as a safetensors file under nanoGPT's names.

    python -m kvbench.models.convert ckpt.pt mine.safetensors --activation gelu

Reads tensors and plain data only (`torch.load(weights_only=True)`), so that a checkpoint runs no
code: nanoGPT's own, a state dict, one of a compiled or a parallel model. The tied head is left out,
as `kvbench.models.weights` reads it. nanoGPT's feed-forward has the exact GELU, `gelu`; GPT-2's, of
OpenAI and of Hugging Face, its tanh form, `gelu_new`: the file says which, and a study is held to
it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kvbench.files.foreign import FormatError, reading
from kvbench.models.weights import HEAD, UNTIED, WeightsError, save, to_our_names


def convert(source: str | Path, target: str | Path, activation: str) -> dict[str, Tensor]:
    """Write `source` as `target` and return its tensors.

    Raises WeightsError for a file that holds no state dict of a GPT-2, or would have to run code.
    """
    with reading(source, "PyTorch checkpoint of tensors and plain data", WeightsError):
        held = torch.load(source, map_location="cpu", weights_only=True)
        for key in ("model", "state_dict", "model_state_dict"):
            held = held.get(key, held)
        named: dict[str, Any] = dict(held)
    tensors = {name: t.detach() for name, t in named.items() if isinstance(t, Tensor)}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or tensor.layout != torch.strided:
            raise WeightsError(f"{source}: {name!r} is no dense tensor with a name")
    try:
        ours = to_our_names(tensors)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from None
    if HEAD in ours:
        raise WeightsError(f"{source}: {UNTIED}")
    if "transformer.wte.weight" not in ours:
        raise WeightsError(f"{source} holds no state dict of a GPT-2: there is no wte.weight in it")
    save(target, ours, source="converted", file=Path(source).name, activation=activation)
    return ours


def main() -> None:
    """The command line; 1 where the checkpoint cannot be converted."""
    parser = argparse.ArgumentParser(prog="python -m kvbench.models.convert", description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, help="a .safetensors file, for config key `weights`")
    parser.add_argument("--activation", choices=("gelu", "gelu_new"), required=True)
    given = parser.parse_args()
    if given.target.suffix != ".safetensors":
        parser.error(f"{given.target} does not end in .safetensors")
    try:
        tensors = convert(given.source, given.target, given.activation)
    except FormatError as error:
        sys.exit(str(error))
    numbers = sum(tensor.numel() for tensor in tensors.values())
    print(f"{given.target}: {len(tensors)} tensors, {numbers:,} parameters")


if __name__ == "__main__":
    main()
