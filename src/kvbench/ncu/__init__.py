"""Nsight Compute CSV exports, of any page, version and locale, turned into roofline totals.

`python -m kvbench.ncu FILE` prints the totals as one JSON object.
"""

from kvbench.ncu.checks import implausible
from kvbench.ncu.errors import NcuError
from kvbench.ncu.report import launches, parse

__all__ = ["NcuError", "implausible", "launches", "parse"]
