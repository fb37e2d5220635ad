"""Numbers in words: as many digits as their interval supports."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbench.stats import digits


@pytest.mark.parametrize(
    "value,low,high,text",
    [
        (1.9367, 1.8412, 2.0481, "1.94 [1.84, 2.05]"),
        (1.47, 1.0021, 2.16, "1.5 [1.0, 2.2]"),
        (1.0163, 1.0151, 1.0175, "1.0163 [1.0151, 1.0175]"),
        (626.2, 560, 690, "630 [560, 690]"),
        (2044, 758, 5335, "2,000 [800, 5,300]"),
        (0.51, 0.51, 0.51, "0.510"),
        (1.03, 1e-5, 3e4, "1.0 [1.0e-05, 30,000]"),
        (1.5, None, None, "1.50"),
        (1.4285714285714, 1.4285714285713, 1.4285714285715, "1.42857 [1.42857, 1.42857]"),
    ],
)
def test_an_interval_gives_its_value_its_digits(value, low, high, text):
    assert digits.spoken(value, low, high) == text


def test_an_end_near_what_it_is_compared_with_keeps_its_side():
    assert digits.spoken(1.47, 1.0021, 2.16, apart_from=1) == "1.5 [1.002, 2.2]"
    assert digits.spoken(0.9, 0.6, 0.97, apart_from=1) == "0.90 [0.60, 0.97]"
    assert digits.spoken(1.0, 1.0, 1.9, apart_from=1) == "1.0 [1.0, 1.9]"


def test_differences_bear_their_sign_and_nothing_has_a_negative_zero():
    assert digits.spoken(0.2, -0.31, 0.76, sign=True) == "+0.2 [-0.3, +0.8]"
    assert digits.spoken(-0.0004, -0.31, 0.3, sign=True) == "0.0 [-0.3, +0.3]"


@pytest.mark.parametrize(
    "value,text",
    [(0.99951, "1.00"), (36.6123, "36.6"), (3271, "3,270"), (0, "0"), (5.03e8, "5.03e+08")],
)
def test_a_number_without_an_interval_has_three_digits(value, text):
    assert digits.short(value) == text


@pytest.mark.parametrize(
    "count,text", [(816, "816 B"), (36864, "36.9 kB"), (4718592, "4.72 MB"), (5e9, "5.00 GB")]
)
def test_bytes_have_the_unit_that_reads_best(count, text):
    assert digits.size(count) == text


@given(st.floats(1e-6, 1e6), st.floats(1e-4, 3))
def test_what_is_shown_lies_within_a_tenth_of_the_interval(value, spread):
    low, high = value / (1 + spread), value * (1 + spread)
    half = (high - low) / 2
    places = digits.decimals(low, high)
    assert abs(round(value, places) - value) <= 0.2 * half
    assert math.isclose(float(digits.fixed(value, places).replace(",", "")), round(value, places))
