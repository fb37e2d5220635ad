"""The page's table of predicted steps is the generator's; a row of it by hand."""

from pathlib import Path

import pytest

predicted = pytest.importorskip("perf.predicted", exc_type=ImportError)
PAGE = Path(__file__).parents[2] / "docs/gpu.md"


def test_the_page_shows_what_is_predicted():
    assert predicted.markdown() in PAGE.read_text()


def test_a_step_of_gpt2_by_hand():
    shape = predicted.shapes()["gpt2"]
    matrices = 12 * 12 * 768 * 768 + 50257 * 768
    vectors = 12 * (4 * 768 + 9 * 768) + 2 * 768  # norms and biases
    rows = 2 * 12 * 64 * 12 * (1001 + 1) * 64 * 2  # K and V read, and one row of each written
    moved = 2 * (matrices + vectors) + rows
    assert predicted.step_bytes(shape, "dense", 64, 1000) == moved
    assert predicted.launches(shape, 1) == 1 + 5 * 12 + 1
    assert predicted.launches(shape, 64) == 1 + 7 * 12 + 2
    assert predicted.predicted_us(4_330_000, 10) == pytest.approx(1.0 + 7.0)
