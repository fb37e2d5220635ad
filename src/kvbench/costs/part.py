"""How keys, or values, are stored: the two parts of a described cache. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
        codes = self.codes_bytes(head_dim, itemsize)
        each = FLOATS[self.scale_type]
        if self.scale == "token":
            return codes + each * (head_dim // (self.group or head_dim))
        return codes

    def codes_bytes(self, head_dim: int, itemsize: int) -> int:
        """Bytes of the numbers of one row, without scales."""
        bits = {**CODES, CODEBOOK: 4, "q8_0": 8, "q4_0": 4, "q5_1": 5}
        floats = 8 * FLOATS.get(self.type, itemsize)
        return head_dim * bits.get(self.type, floats) // 8

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


def read_part(name: str, given: Any, both: Mapping[str, Any]) -> Part:
    """Keys or values: a type's name, or a mapping; `both` holds what is said of both."""
    if not isinstance(given, str | Mapping):
        raise DescriptionError(name, f"is {given!r}; allowed: a type or a mapping that has one")
    own = {"type": given} if isinstance(given, str) else dict(given)
    for key in own:
        if key not in PART_KEYS:
            raise DescriptionError(f"{name}.{key}", f"is unknown; known: {', '.join(PART_KEYS)}")
    kind = own.get("type", "dense")
    kind = ALIASES.get(kind, kind) if isinstance(kind, str) else kind
    one_of(name if isinstance(given, str) else f"{name}.type", kind, TYPES)
    takes = kind in CODES or kind == CODEBOOK
    scale = own.get("scale") or (both.get("scale") if takes and kind != CODEBOOK else None)
    part = Part(
        kind,
        one_of(f"{name}.scale", scale or "token", SCALES),
        one_of(f"{name}.group", own.get("group") or 0, (0, *GROUPS)),
        one_of(f"{name}.scale_type", own.get("scale_type") or "fp32", SCALE_TYPES),
    )
    if takes and part.scale != "tensor":
        group = part.group or (both.get("group", 0) if kind != CODEBOOK else 0)
        scale_type = own.get("scale_type") or both.get("scale_type", "fp32")
        part = replace(
            part,
            group=one_of("group", group, (0, *GROUPS)),
            scale_type=one_of("scale_type", scale_type, SCALE_TYPES),
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


def one_of(key: str, value: Any, allowed: Sequence[Any]) -> Any:
    """`value`, which is one of those allowed. Raises DescriptionError."""
    if not any(value is one or (type(value) is type(one) and value == one) for one in allowed):
        named = ", ".join(str(one).lower() for one in allowed)
        raise DescriptionError(key, f"is {value!r}; allowed: {named}")
    return value


def count(key: str, value: Any, least: int) -> int:
    """`value`, a whole number from `least` on. Raises DescriptionError."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 2**20:
        raise DescriptionError(key, f"is {value!r}; allowed: whole numbers from {least} to {2**20}")
    return value
