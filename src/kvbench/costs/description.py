"""A cache described by data: what type keys and values are stored in, and in which layers.

A description is what a line of the registry, a study's `versions` and a record hold. Standard
library only. `Description.of` reads a mapping; what is not implemented is refused there, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from kvbench.costs.part import CODEBOOK, PART_KEYS, DescriptionError, Part, count, one_of, read_part
from kvbench.files import Json

KEYS = (
    *("keys", "values", "scale", "group", "scale_type", "rotate", "dense_layers", "window"),
    *("sinks", "centred", "key_bias"),
)
SINKS = 4  # first tokens that a window keeps, unless it says how many


@dataclass(frozen=True)
class Description:
    """A cache: its keys and values, and what is done to them.

    rotate: `False`; `True` turns rows by a Hadamard matrix and back; `folded` has V turned by the
    model's weights instead. dense_layers: layers in the model's dtype, from the end where negative.
    window: the newest tokens that are kept beside the first `sinks`; None keeps all. centred: rows
    less the mean of the first BLOCK, which are kept whole. key_bias: `split` stores keys less their
    bias, which is known.
    """

    keys: Part = Part()
    values: Part = Part()
    rotate: bool | str = False
    dense_layers: tuple[int, ...] = ()
    window: int | None = None
    sinks: int = 0
    centred: bool = False
    key_bias: str = "kept"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Description:
        """The description that a mapping writes. Raises DescriptionError for the first fault."""
        unknown = [key for key in given if key not in KEYS]
        if unknown:
            raise DescriptionError(str(unknown[0]), f"is unknown; known: name, {', '.join(KEYS)}")
        both = {key: given[key] for key in PART_KEYS if given.get(key) is not None}
        parts = {
            name: read_part(name, given.get(name, "dense"), both) for name in ("keys", "values")
        }
        for key, value in both.items():
            if all(getattr(part, key) != value for part in parts.values()):
                raise DescriptionError(key, f"is {value!r}, which neither keys nor values take")
        window, sinks = given.get("window"), given.get("sinks")
        sinks = (SINKS if window else 0) if sinks is None else sinks
        found = cls(
            **parts,
            rotate=one_of("rotate", given.get("rotate", False), (False, True, "folded")),
            dense_layers=_layers(given.get("dense_layers")),
            window=None if window is None else count("window", window, 1),
            sinks=count("sinks", sinks, 0),
            centred=one_of("centred", given.get("centred", False), (False, True)),
            key_bias=one_of("key_bias", given.get("key_bias", "kept"), ("kept", "split")),
        )
        found._check()
        return found

    def _check(self) -> None:
        """Refuse what is not implemented together."""
        parts = {"keys": self.keys, "values": self.values}
        by_channel = [name for name, part in parts.items() if part.block]
        not_turned = [name for name, part in parts.items() if part.type == CODEBOOK]
        if self.window is None and self.sinks:
            raise DescriptionError("sinks", "needs a window: without one all tokens are kept")
        if not_turned and self.rotate is not True:
            raise DescriptionError(
                not_turned[0], f"of {CODEBOOK} needs rotate: true, the rows it is made for"
            )
        if self.rotate and not any(part.coded for part in parts.values()):
            raise DescriptionError("rotate", "needs keys or values in codes: nothing else is lost")
        if by_channel == ["keys", "values"] and self.keys.block != self.values.block:
            raise DescriptionError("group", "by channel has to be the same of keys and values")
        if by_channel and self.rotate == "folded":
            raise DescriptionError("rotate", "folded is not implemented with a scale by channel")
        if by_channel and self.window is not None:
            raise DescriptionError("window", "is not implemented with a scale by channel")
        if self.centred and (by_channel or self.window is not None):
            other = "window" if self.window is not None else f"{by_channel[0]} by channel"
            raise DescriptionError("centred", f"is not implemented with {other}")
        if self.centred and self.rotate == "folded":
            raise DescriptionError("rotate", "folded is not implemented with centred")
        if self.centred and not all(part.coded for part in parts.values()):
            raise DescriptionError("centred", "needs keys and values in codes")
        if self.key_bias == "split" and self.window is not None:
            raise DescriptionError("key_bias", "split is not implemented with a window")
        if self.key_bias == "split" and not self.keys.coded:
            raise DescriptionError("key_bias", "split needs keys in codes: nothing else is lost")

    @property
    def quantised(self) -> bool:
        """Whether any row is stored as codes."""
        return self.keys.coded or self.values.coded

    @property
    def turned(self) -> tuple[bool, bool]:
        """Whether keys, and values, are turned as they are stored, not by the model's weights."""
        return self.keys.coded and bool(self.rotate), self.values.coded and self.rotate is True

    @property
    def module(self) -> str:
        """The module of `kvbench.caches` that stores it."""
        if self.centred:
            return "centred"
        return "channel" if self.keys.block or self.values.block else "coded"

    @property
    def fold(self) -> str | None:
        """The rotation of `kvbench.models.rotation` that the weights are to have folded in."""
        return "values" if self.rotate == "folded" else None

    def data(self) -> Json:
        """The whole description as plain data, which `of` reads."""
        return {**asdict(self), "dense_layers": list(self.dense_layers)}

    def words(self) -> str:
        """What it is, for a table of versions."""
        parts = self.keys.word(), self.values.word()
        said = [f"K {parts[0]}, V {parts[1]}" if parts[0] != parts[1] else f"K and V {parts[0]}"]
        said += ["rotated"] if self.rotate else []
        said += ["less the mean"] if self.centred else []
        said += [f"window of {self.window} with {self.sinks} sinks"] if self.window else []
        said += ["keys less their bias"] if self.key_bias == "split" else []
        layers = ", ".join(map(str, self.dense_layers))
        said += [f"layers {layers} dense"] if self.dense_layers else []
        return ", ".join(said)

    def name(self) -> str:
        """What it is called where it is given no name: the same for the same description."""
        words = [self.keys.word()]
        apart = self.values != self.keys or self.values.block  # v7's name is of K alone by channel
        words += [self.values.word()] if apart else []
        words += ["rotated" if self.rotate is True else "folded"] if self.rotate else []
        words += ["centred"] if self.centred else []
        words += ["window", str(self.window)] if self.window is not None else []
        words += ["sinks", str(self.sinks)] if self.window is not None else []
        words += ["bias-split"] if self.key_bias == "split" else []
        if self.dense_layers:
            ends = (f"m{-layer}" if layer < 0 else str(layer) for layer in self.dense_layers)
            words += ["dense", *ends]
        return "-".join(words)

    def plain_layers(self, n_layer: int) -> tuple[int, ...]:
        """The layers of `n_layer` that are stored in the model's dtype. Raises DescriptionError."""
        for layer in self.dense_layers:
            if not -n_layer <= layer < n_layer:
                raise DescriptionError(
                    "dense_layers", f"has {layer}; allowed: {-n_layer} to {n_layer - 1}"
                )
        return tuple(sorted({layer % n_layer for layer in self.dense_layers}))

    def check_head(self, head_dim: int) -> None:
        """Raise DescriptionError where rows of this many numbers cannot be stored so."""
        for name, part in (("keys", self.keys), ("values", self.values)):
            if found := part.problem(head_dim):
                key, sizes = found
                raise DescriptionError(
                    f"{name}.{key}", f"is {getattr(part, key)}; it needs {sizes}"
                )

    def without_layers(self) -> Description:
        """The same in every layer."""
        return replace(self, dense_layers=())


def _layers(given: Any) -> tuple[int, ...]:
    if given is None:
        return ()
    whole = isinstance(given, list | tuple) and all(
        isinstance(layer, int) and not isinstance(layer, bool) for layer in given
    )
    if not whole or len(set(given)) != len(given):
        raise DescriptionError(
            "dense_layers", f"is {given!r}; allowed: a list of different layers, as [0, -1]"
        )
    return tuple(given)
