"""Models by architecture: `models/{arch}.py` holds `Config` and `Model`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kvbench.costs.layer_map import owners_in
from kvbench.models.base import LanguageModel
from kvbench.models.rotation import FOLDS
from kvbench.shape import Shape

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NOT_OF_CONFIG = ("arch", "weights", "kv_owner")  # keys of a shape that its config class lacks


def build(
    shape: Shape,
    layer_map: str | Sequence[int] = "own",
    dtype: str = "bfloat16",
    weights: str | Path | None = None,
    seed: int = 42,
    device: str | None = None,
    fold: str | None = None,
) -> LanguageModel:
    """A model in eval mode on `device` (CUDA where there is one, else CPU).

    `shape` is a line of the preset registry; `weights` a safetensors file, or a directory of
    Hugging Face's; without them the parameters are seeded random numbers. `fold` is a rotation of
    `kvbench.models.rotation` to fold into them. Raises ValueError for an unknown
    dtype or layer map.
    """
    from kvbench.models import hf_weights
    from kvbench.models import weights as weight_files

    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; known dtypes: {', '.join(DTYPES)}")
    arch = importlib.import_module(f"kvbench.models.{shape['arch']}")
    config = config_of(shape, owners_in(layer_map, shape))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with torch.device(device), uninitialised(DTYPES[dtype]):
        model = arch.Model(config)
    if weights is None:
        weight_files.init_random(model, seed)
    elif Path(weights).is_dir():
        hf_weights.load(model, weights, shape)
    else:
        weight_files.load(model, weights)
    if fold is not None:
        FOLDS[fold](model)
    return model.requires_grad_(False).eval()


def config_of(shape: Shape, owner: Sequence[int] = ()) -> Any:
    """The config of a shape's architecture, with a layer map; without one, every layer its own."""
    arch = importlib.import_module(f"kvbench.models.{shape['arch']}")
    sizes = {key: value for key, value in shape.items() if key not in NOT_OF_CONFIG}
    return arch.Config(**sizes, owner=tuple(owner))


@contextmanager
def uninitialised(dtype: torch.dtype) -> Iterator[None]:
    """Modules made inside keep their parameters as allocated, in this dtype.

    torch's initialisation of GPT-2 costs more than loading it, and on the meta device, the usual
    way around it, the first call imports three seconds' worth of operator registrations.
    """
    kinds = (nn.Linear, nn.Embedding, nn.LayerNorm, nn.RMSNorm)
    initialise = {kind: vars(kind)["reset_parameters"] for kind in kinds}
    usual = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        for kind in kinds:
            setattr(kind, "reset_parameters", lambda self: None)  # noqa: B010 (a method, to mypy)
        yield
    finally:
        torch.set_default_dtype(usual)
        for kind, method in initialise.items():
            setattr(kind, "reset_parameters", method)  # noqa: B010
