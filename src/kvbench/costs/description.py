"""A cache described by data: what type keys and values are stored in, and in which layers.

A description is what a line of the registry, a study's `versions` and a record hold. Standard
library only. `Description.of` reads a mapping; what is not implemented is refused there, by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

FLOATS = {"fp32": 4, "bf16": 2, "fp16": 2}  # bytes of a number
CODES = {"int8": 8, "int4": 4, "fp8_e4m3": 8, "fp8_e5m2": 8}  # bits of a code
BLOCKS = {"q8_0": 34, "q4_0": 18, "q5_1": 24}  # llama.cpp's: bytes of 32 numbers, scales included
CODEBOOK = "codebook4"
TYPES = ("dense", *FLOATS, *CODES, *BLOCKS, CODEBOOK)
ALIASES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "fp8": "fp8_e4m3"}
FP8 = ("fp8_e4m3", "fp8_e5m2")
SCALES, SCALE_TYPES, GROUPS = ("token", "channel", "tensor"), ("fp32", "fp16"), (32, 64)
BLOCK = 64  # tokens of a block, unless a part by channel says another group
PART_KEYS = ("type", "scale", "group", "scale_type")
KEYS = (
    *("keys", "values", "scale", "group", "scale_type", "rotate", "dense_layers", "window"),
    *("sinks", "centred", "key_bias"),
)
SINKS = 4  # first tokens that a window keeps, unless it says how many


class DescriptionError(ValueError):
    """What cannot be stored so: `key` of the description, and why in one line."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key} {why}")
        self.key, self.why = key, why


@dataclass(frozen=True)
class Part:
    """How keys, or values, are stored.

    scale: of `token`, one a row, or one of every `group` channels of it; of `channel`, one for each
    of `group` tokens; of `tensor`, the number 1 for all. group 0: the whole row, or BLOCK tokens.
    """

    type: str = "dense"  # dense: the model's own
    scale: str = "token"
    group: int = 0
    scale_type: str = "fp32"

    @property
    def coded(self) -> bool:
        """Whether numbers are stored as codes with scales."""
        return self.type != "dense" and self.type not in FLOATS

    @property
    def block(self) -> int:
        """Tokens that are coded together; 0 where each is by itself."""
        return (self.group or BLOCK) if self.scale == "channel" else 0

    def row_bytes(self, head_dim: int, itemsize: int) -> int:
        """Bytes of one row of `head_dim` numbers, its scales included; a block's are not."""
        if not self.coded:
            return head_dim * FLOATS.get(self.type, itemsize)
        if self.type in BLOCKS:
            return head_dim // 32 * BLOCKS[self.type]
        codes = head_dim * (4 if self.type == CODEBOOK else CODES[self.type]) // 8
        each = FLOATS[self.scale_type]
        if self.scale == "token":
            return codes + each * (head_dim // (self.group or head_dim))
        return codes

    def block_bytes(self, head_dim: int) -> int:
        """Bytes of the scale and the offset of every channel of a block."""
        return 2 * FLOATS[self.scale_type] * head_dim if self.block else 0

    def problem(self, head_dim: int) -> tuple[str, str] | None:
        """(key, head sizes that it needs) where rows of this many numbers cannot be stored so."""
        if self.type in BLOCKS and head_dim % 32:
            return "type", "a multiple of 32"
        if self.scale == "token" and self.group and head_dim % self.group:
            return "group", f"a multiple of {self.group}"
        if (self.type == "int4" or self.type == CODEBOOK) and head_dim % 2:
            return "type", "an even one, since two codes share a byte"
        if self.type == CODEBOOK and (head_dim & (head_dim - 1) or head_dim < 16):
            return "type", "a power of 2 from 16 on"
        return None

    def word(self) -> str:
        """The part in a name: `int8`, `int4-g32-f16`, `int4-channel`."""
        words = [self.type]
        words += [self.scale] if self.scale != "token" else []
        words += [f"g{self.group}"] if self.group else []
        return "-".join([*words, *(["f16"] if self.scale_type == "fp16" else [])])


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
        parts = {name: _part(name, given.get(name, "dense"), both) for name in ("keys", "values")}
        for key, value in both.items():
            if all(getattr(part, key) != value for part in parts.values()):
                raise DescriptionError(key, f"is {value!r}, which neither keys nor values take")
        window, sinks = given.get("window"), given.get("sinks")
        sinks = (SINKS if window else 0) if sinks is None else sinks
        found = cls(
            **parts,
            rotate=_one_of("rotate", given.get("rotate", False), (False, True, "folded")),
            dense_layers=_layers(given.get("dense_layers")),
            window=None if window is None else _count("window", window, 1),
            sinks=_count("sinks", sinks, 0),
            centred=_one_of("centred", given.get("centred", False), (False, True)),
            key_bias=_one_of("key_bias", given.get("key_bias", "kept"), ("kept", "split")),
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
    def module(self) -> str:
        """The module of `kvbench.caches` that stores it."""
        if self.centred:
            return "centred"
        return "channel" if self.keys.block or self.values.block else "coded"

    @property
    def fold(self) -> str | None:
        """The rotation of `kvbench.models.rotation` that the weights are to have folded in."""
        return "values" if self.rotate == "folded" else None

    def data(self) -> dict[str, Any]:
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


def _part(name: str, given: Any, both: Mapping[str, Any]) -> Part:
    """Keys or values: a type's name, or a mapping; `both` holds what is said of both."""
    if not isinstance(given, str | Mapping):
        raise DescriptionError(name, f"is {given!r}; allowed: a type or a mapping that has one")
    own = {"type": given} if isinstance(given, str) else dict(given)
    for key in own:
        if key not in PART_KEYS:
            raise DescriptionError(f"{name}.{key}", f"is unknown; known: {', '.join(PART_KEYS)}")
    kind = own.get("type", "dense")
    kind = ALIASES.get(kind, kind) if isinstance(kind, str) else kind
    _one_of(name if isinstance(given, str) else f"{name}.type", kind, TYPES)
    takes = kind in CODES or kind == CODEBOOK
    scale = own.get("scale") or (both.get("scale") if takes and kind != CODEBOOK else None)
    part = Part(
        kind,
        _one_of(f"{name}.scale", scale or "token", SCALES),
        _one_of(f"{name}.group", own.get("group") or 0, (0, *GROUPS)),
        _one_of(f"{name}.scale_type", own.get("scale_type") or "fp32", SCALE_TYPES),
    )
    if takes and part.scale != "tensor":
        group = part.group or (both.get("group", 0) if kind != CODEBOOK else 0)
        scale_type = own.get("scale_type") or both.get("scale_type", "fp32")
        part = replace(
            part,
            group=_one_of("group", group, (0, *GROUPS)),
            scale_type=_one_of("scale_type", scale_type, SCALE_TYPES),
        )
    elif part != Part(kind, part.scale if takes else "token"):
        key = next(key for key in PART_KEYS[1:] if getattr(part, key) != getattr(Part(), key))
        raise DescriptionError(f"{name}.{key}", f"is not for {kind}: its layout is its own")
    if part.scale == "channel" and kind not in ("int8", "int4"):
        raise DescriptionError(f"{name}.scale", f"channel is not implemented for {kind}")
    if part.scale == "tensor" and kind not in FP8:
        raise DescriptionError(f"{name}.scale", f"tensor is for {' and '.join(FP8)} alone")
    if kind == CODEBOOK and (part.group or part.scale != "token"):
        raise DescriptionError(f"{name}.group", f"is not for {CODEBOOK}, which keeps a row's norm")
    return part


def _one_of(key: str, value: Any, allowed: Sequence[Any]) -> Any:
    if not any(value is one or (type(value) is type(one) and value == one) for one in allowed):
        named = ", ".join(str(one).lower() for one in allowed)
        raise DescriptionError(key, f"is {value!r}; allowed: {named}")
    return value


def _count(key: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 2**20:
        raise DescriptionError(key, f"is {value!r}; allowed: whole numbers from {least} to {2**20}")
    return value


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
