"""Models that a configuration names by where they lie: a directory, or a config.json alone.

Light, as `kvbench.plan.config`: the Snakefile imports it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kvbench.files import Json
from kvbench.files.foreign import FormatError
from kvbench.inputs import hub
from kvbench.models.hf_config import read_shape
from kvbench.models.hf_files import CONFIG, from_hub, tokenizer_file
from kvbench.plan.config_types import Model
from kvbench.presets import PRESETS
from kvbench.shape import Shape

SHAPE_ONLY = "config:"  # in front of the path of a config.json
HOW = (
    "a preset's name, a directory of Hugging Face's, a model of the hub as org/name or "
    "org/name@revision, or config:PATH/config.json for a shape with seeded weights"
)
TAKEN = (*PRESETS, "custom")
WINDOWS, CONTEXT = 8, 256  # scored windows and their tokens, where a study does not say


class ModelPathError(FormatError):
    """A path of configuration key `key` that leads to no model, or to one of a name in use."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


def place_models(given: Json) -> tuple[Json, dict[str, Model]]:
    """The configuration with names in place of paths, and by name what lies there.

    A model has its `shape`, whose `weights` are its directory or `random`, its `tokenizer`'s file
    or None, and its `revision`, the commit of a model of the hub. Names are those of directories,
    in characters that are safe in a path. Raises ModelPathError for a path without a model, and for
    two models of one name.
    """
    models: dict[str, Model] = {}

    def named(entry: Any, key: str) -> Any:
        if not isinstance(entry, str) or entry in PRESETS or not _is_path(entry):
            return entry
        try:
            name, model = _model(entry)
            if models.setdefault(name, model) != model:
                raise FormatError(f"{entry} and {models[name]['path']} would both be called {name}")
        except FormatError as error:
            raise ModelPathError(key, str(error)) from None
        return name

    placed = dict(given)
    if "pretrained" in given:
        several = isinstance(given["pretrained"], list)
        asked = given["pretrained"] if several else [given["pretrained"]]
        names = [named(one, "pretrained") for one in asked]
        placed["pretrained"] = names if several else names[0]
    scored = given.get("perplexity")
    if isinstance(scored, dict) and isinstance(scored.get("presets"), list):
        names = [named(one, "perplexity.presets") for one in scored["presets"]]
        placed["perplexity"] = scored | {"presets": names}
    return placed, models


def _is_path(entry: str) -> bool:
    return entry.startswith((SHAPE_ONLY, ".", "~")) or "/" in entry or Path(entry).is_dir()


def _model(entry: str) -> tuple[str, Model]:
    """A model's name, and what lies at its path."""
    if entry.startswith(SHAPE_ONLY):
        path = Path(entry.removeprefix(SHAPE_ONLY)).expanduser()
        if path.is_dir():
            path /= CONFIG
        name = path.resolve().parent.name if path.name == CONFIG else path.stem
        shape: Shape = {**read_shape(path), "weights": "random"}
        return f"{_safe(name)}-shape", {"shape": shape, "tokenizer": None, "path": entry}
    folder = Path(entry).expanduser()
    name = _safe(folder.resolve().name)
    if not folder.is_dir():
        if not hub.NAME.fullmatch(entry):
            raise FormatError(f"{entry} is no directory; allowed: {HOW}")
        folder, name = hub.folder(entry), _safe(entry.split("/", 1)[1])
    shape = {**read_shape(folder / CONFIG), "weights": str(folder)}
    model: Model = {"shape": shape, "tokenizer": tokenizer_file(folder), "path": entry}
    if commit := from_hub(folder).get("commit"):
        model["revision"] = commit
    return (f"{name}-local" if name in TAKEN else name), model


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "model"
