"""Numbers as people read them: as many digits as their interval supports. Standard library only."""

from __future__ import annotations

import math

UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
MOST = 6  # significant digits: an interval that is narrower still is not of measuring
LARGE = 1e7  # from here on, and below SMALL, a number is written with a power of ten
SMALL = 1e-3


def decimals(low: float, high: float) -> int:
    """Decimal places that an interval supports: two digits of its half-width below 3, else one.

    Negative for tens, hundreds, ...: 2044 in [758, 5335] is 2,000. An interval of no width
    supports any: three digits of its value.
    """
    half = (high - low) / 2
    if not half > 0 or not math.isfinite(half):
        return _places(max(abs(low), abs(high)), 3)
    exponent = math.floor(math.log10(half))
    places = (1 if half / 10**exponent < 2.95 else 0) - exponent
    return min(places, _places(max(abs(low), abs(high)), MOST))


def short(value: float, digits: int = 3) -> str:
    """A number without an interval, to so many significant digits: 3270, 36.6, 0.00141."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not SMALL <= abs(value) < LARGE:
        return f"{value:.{digits - 1}e}"
    return fixed(value, _places(value, digits))


def fixed(value: float, places: int, sign: bool = False) -> str:
    """A number rounded to decimal places, below 0 to tens and hundreds, with thousands marked."""
    rounded = round(value, places) + 0.0  # no negative zero
    return f"{rounded:{'+' if sign and rounded else ''},.{max(0, places)}f}"


def spoken(
    value: float,
    low: float | None,
    high: float | None,
    sign: bool = False,
    apart_from: float | None = None,
) -> str:
    """`1.94 [1.84, 2.05]`: a value with its interval; the value alone where there is none.

    An end is never rounded to `apart_from`, what the interval is compared with.
    """
    if low is None or high is None or low == high:
        return short(value) if not sign else f"{'+' if value > 0 else ''}{short(value)}"
    texts = ends(value, low, high, sign, apart_from)
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def ends(
    value: float, low: float, high: float, sign: bool = False, apart_from: float | None = None
) -> tuple[str, str, str]:
    """A value and the ends of its interval, with the digits that the interval supports."""
    if max(map(abs, (value, low, high))) >= LARGE:  # an interval of two noisy processes
        return short(value, 2), short(low, 2), short(high, 2)
    places = decimals(low, high)
    if high > 20 * max(abs(low), abs(value)) > 0:  # so skewed that its width says little of value
        return short(value, 2), short(low, 2), short(high, 2)
    shown = [fixed(end, _apart(end, places, apart_from), sign) for end in (low, high)]
    return fixed(value, places, sign), shown[0], shown[1]


def _apart(end: float, places: int, reference: float | None) -> int:
    """Decimal places at which an end does not read as the reference, three more at most."""
    more = range(places, places + 4)
    return next((n for n in more if round(end, n) != reference), places)


def size(count: float) -> str:
    """Bytes in the decimal unit that reads best: `4.72 MB`."""
    for unit, scale in UNITS:
        if abs(count) >= scale:
            return f"{short(count / scale)} {unit}"
    return f"{count:.0f} B"


def _places(value: float, digits: int) -> int:
    return digits - 1 - int(f"{value:.{digits - 1}e}".partition("e")[2]) if value else 0
