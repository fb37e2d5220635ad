"""Numbers and units as ncu prints them, in any locale."""

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from kvbench.ncu.errors import NcuError

TIME, BYTES, COUNT, CYCLES, RATE = "time", "bytes", "count", "cycles", "cycles per second"
PER_CYCLE, BYTE_RATE = "count per cycle", "bytes per second"
FALLBACKS = (CYCLES, RATE, PER_CYCLE, BYTE_RATE)  # of these a quantity is made where all else lacks
LARGEST, DIGITS = 1e30, 18  # beyond which no counter is: of a value, of a whole number

_MISSING = re.compile(
    r"(\(!\).*|n/?a|[-+]?nan(\(ind\))?|[-+]?inf(inity)?|-?1\.#\w+|<?null>?|none|-)?", re.I
)
# One grammar, two alphabets: groups of three, then a fraction; an exponent excludes groups.
_NUMBER = (
    r"[1-9]\d{{0,2}}(?:{group}\d{{3}})+(?:{point}\d*)?|(?:\d+(?:{point}\d*)?|{point}\d+)"
    r"(?:[eE][-+]?\d+)?"
)
_ENGLISH = re.compile(_NUMBER.format(group=",", point=r"\."), re.ASCII)
_EUROPEAN = re.compile(_NUMBER.format(group=r"\.", point=","), re.ASCII)
# Separators that can only part groups: the spaces of French and the apostrophes of Swiss
# locales. ncu prints one byte of a wide one, which decodes to U+FFFD.
_OTHER_GROUPS = re.compile("(?<=\\d)[ \u00a0\u202f\u2009'\u2019\ufffd](?=\\d{3}(?!\\d))", re.ASCII)
_WHOLE = re.compile(r"\d{1,3}([., \u00a0\u202f'\u2019\ufffd]\d{3})+|\d+", re.ASCII)
_INSTANCES = re.compile(r"\s+\(.*\)$", re.S)  # --print-metric-instances: "12 (3; 4; 5)"

_SECONDS = {"n": 1.0, "u": 1e3, "m": 1e6, "": 1e9}
_PREFIX = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}  # decimal, also for bytes
_UNITS = {
    TIME: {p + s: f for p, f in _SECONDS.items() for s in ("s", "sec", "second")},
    BYTES: {p + s: f for p, f in _PREFIX.items() for s in ("byte", "bytes")},
    COUNT: {
        p + s: f
        for p, f in _PREFIX.items()
        for s in ("", "inst", "thread_inst", "thread", "sector", "sectors", "op", "ops", "flop")
    },
    CYCLES: {p + s: f for p, f in _PREFIX.items() for s in ("cycle", "cycles")},
    RATE: {p + "hz": f for p, f in _PREFIX.items()}
    | {f"cycle/{p}{s}": 1e9 / f for p, f in _SECONDS.items() for s in ("s", "second")},
    PER_CYCLE: {
        p + s: f for p, f in _PREFIX.items() for s in ("", "inst/cycle", "thread_inst/cycle")
    },
    BYTE_RATE: {f"{p}byte/{s}": f for p, f in _PREFIX.items() for s in ("s", "second")},
}


def is_missing(text: str) -> bool:
    """Whether a value cell says that there is no value; ncu marks failed counters with (!)."""
    return _MISSING.fullmatch(text.strip()) is not None


def readings(text: str) -> tuple[float, float] | None:
    """A number read the English and the European way, NaN where it cannot be; None: no number.

    "1,234.5" is English only, "27.595.520" European only, "1.234" both, with unlike values. What
    no counter can be is no number either.
    """
    found = _readings(text)
    return None if found and any(value > LARGEST for value in found) else found


def _readings(text: str) -> tuple[float, float] | None:
    if text.isdigit() and text.isascii():  # most values, and worth the short cut
        value = float(text)
        return value, value
    english = float(text.replace(",", "")) if _ENGLISH.fullmatch(text) else math.nan
    if _EUROPEAN.fullmatch(text):
        return english, float(text.replace(".", "").replace(",", "."))
    if english == english:
        return english, math.nan
    plain = _OTHER_GROUPS.sub("", _INSTANCES.sub("", text.strip()))
    return _readings(plain) if plain != text else None


def whole(text: str) -> int | None:
    """An ID or a count, None for anything else.

    Its separators can only be groups ("1,024", "1.024"), but for the ".0" of a program that
    took the column for floats when it saved the table again.
    """
    text = text.strip().removesuffix(".0")
    digits = text if text.isdecimal() else re.sub(r"\D", "", text)
    return int(digits) if _WHOLE.fullmatch(text) and len(digits) <= DIGITS else None


@lru_cache(maxsize=256)
def scale(dimension: str, unit: str) -> float:
    """What to multiply a value by to get ns, bytes, counts, cycles or cycles per second.

    Raises NcuError for a unit the dimension does not know.
    """
    factor = _UNITS[dimension].get(unit.strip().lower())
    if factor is None:
        raise NcuError(f'"{unit}" is no unit of {dimension}' if unit else "it has no unit")
    return factor


@dataclass
class Evidence:
    """What the numbers of one table say about its locale."""

    english: str | None = None  # a needed value that can only be read this way
    european: str | None = None
    hint: str | None = None  # "english" or "european", from a metric that is not needed

    def take(self, text: str, english: float, european: float) -> None:
        """Note a needed value; values that read the same either way say nothing."""
        if european != european:
            self.english = self.english or text
        elif english != english:
            self.european = self.european or text

    def take_hint(self, text: str) -> None:
        """Note a value that is not needed. One is enough: all come from the same run."""
        values = None if is_missing(text) else readings(text)
        if values and values[0] != values[0]:
            self.hint = "european"
        elif values and values[1] != values[1]:
            self.hint = "english"

    def locale(self) -> str | None:
        """The locale of the table, None when nothing decides; NcuError when values disagree."""
        if self.english and self.european:
            raise NcuError(
                f'"{self.english}" is an English number and "{self.european}" a European one; '
                "export the report again with LC_ALL=C"
            )
        if self.english or self.european:
            return "english" if self.english else "european"
        return self.hint
