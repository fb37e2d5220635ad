"""Models by architecture: `models/{arch}.py` holds `Config` and `Model`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from kvbench.layermaps import owners
from kvbench.models.base import LanguageModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def build(
    shape: dict[str, Any],
    layer_map: str | Sequence[int] = "own",
    dtype: str = "bfloat16",
    weights: str | Path | None = None,
    seed: int = 42,
    device: str | None = None,
) -> LanguageModel:
    """A model in eval mode on `device` (CUDA where there is one, else CPU).

    `shape` is a line of the preset registry; `weights` a safetensors file, without which the
    parameters are seeded random numbers. Raises ValueError for an unknown dtype or layer map.
    """
    from kvbench import weights as weight_files

    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; known dtypes: {', '.join(DTYPES)}")
    arch = importlib.import_module(f"kvbench.models.{shape['arch']}")
    sizes = {key: value for key, value in shape.items() if key not in ("arch", "weights")}
    config = arch.Config(**sizes, owner=tuple(owners(layer_map, shape["n_layer"])))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with torch.device("meta"):  # torch's own initialisation would cost more than loading
        model = arch.Model(config).to(DTYPES[dtype])
    model.to_empty(device=device)
    model.tie()
    if weights is None:
        weight_files.init_random(model, seed)
    else:
        weight_files.load(model, weights)
    return model.requires_grad_(False).eval()
