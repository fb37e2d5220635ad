"""Statistics, judged on simulated machines whose truth is known."""

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter

from kvbench.stats.decisions import replicates_needed, smallest_detectable, verdicts
from kvbench.stats.lines import break_even, fit_line
from kvbench.stats.paired import at, compare, from_log_ratios, interval
from kvbench.stats.samples import as_samples
from kvbench.stats.shift import compare_with_shift
from kvbench.stats.stopping import ALPHA, FIRST, decide, half_width_of
from kvbench.stats.windows import _resampled_means, block_bootstrap_mean, document_mean

REPLICATES = 10  # the recommended count
SPREAD = 0.015  # block log ratios of a desktop at rest


def heavy(rng, shape):
    """Student-3 noise of unit standard deviation."""
    return rng.standard_t(3, shape) / math.sqrt(3)


def rounds(rng, replicates, drift, ratio=1.0, spread=SPREAD, versions=5):
    """Blocks of two of the versions that ran in random order, in rounds on a drifting machine."""
    n = replicates * versions
    if drift == "walk":
        machine = 0.01 * rng.normal(size=n).cumsum()
    else:
        period, phase = n * rng.uniform(1, 4), rng.uniform(0, 2 * np.pi)
        machine = 0.1 * np.sin(2 * np.pi * np.arange(n) / period + phase)
    log = rng.permuted(machine.reshape(replicates, versions), axis=1)[:, :2]
    log += spread / math.sqrt(2) * heavy(rng, (replicates, 2))
    log[:, 0] += math.log(ratio)
    samples = np.exp(log[..., None] + 0.005 * heavy(rng, (replicates, 2, 3)))
    return samples[:, 0].tolist(), samples[:, 1].tolist()


def block_ratios(rng, count, replicates, ratio=1.0, spread=SPREAD):
    """`count` comparisons whose block log ratios scatter around log(ratio)."""
    logs = math.log(ratio) + spread * (heavy(rng, (2, count, replicates)) / math.sqrt(2)).sum(0)
    return [from_log_ratios(row, margin=0.02, level=0.95) for row in logs]


def words(comparisons, **kwargs):
    return [v.word for v in verdicts(comparisons, **kwargs)]


# Samples


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [1.0, math.inf], [[1.0], [2.0]], ["fast"]])
def test_what_is_not_a_list_of_numbers_is_refused(bad):
    with pytest.raises(ValueError, match="samples: "):
        as_samples(bad)


def test_samples_are_checked_without_scipy():
    code = "import sys, kvbench.stats.samples; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "src"}).returncode == 0


# One cell


@pytest.mark.parametrize("replicates", [3, 5, 10])
def test_a_cell_interval_covers_the_truth_nineteen_times_in_twenty(replicates):
    rng = np.random.default_rng(replicates)
    cells = 7.0 * np.exp(0.02 * heavy(rng, (500, replicates, 1)))
    found = [interval(blocks) for blocks in cells.tolist()]
    assert 0.90 <= np.mean([i.low <= 7.0 <= i.high for i in found]) <= 0.98
    assert all(i.low <= i.point <= i.high for i in found)


def test_a_cell_is_the_median_of_its_replicates_medians():
    got = interval([[1.0, 2.0, 90.0], [4.0], [3.0, 3.0]])
    assert got.point == pytest.approx(3.0)


def test_a_cell_interval_holds_its_point_even_with_disturbed_replicates():
    got = interval([[1.0]] * 6 + [[3.0]] * 5)
    assert got.low == got.point == pytest.approx(1.0)


def test_samples_of_one_process_are_not_replicates():
    got = interval([[1.0, 1.1, 0.9] * 100])
    assert (got.low, got.high, got.replicates) == (None, None, 1)
    assert "one replicate" in got.reason
    once = compare([[1.0, 1.1]], [[2.0, 2.1]])
    assert (once.low, once.p_difference, once.p_equivalence) == (None, None, None)
    assert words([once]) == ["inconclusive"]


# Two versions


@pytest.mark.parametrize("replicates", [3, 5, 10])
def test_the_ratio_interval_covers_the_truth_under_drift(replicates):
    rng = np.random.default_rng(replicates)
    drifts = ["walk", "sine"] * 250
    found = [compare(*rounds(rng, replicates, drift, ratio=1.1)) for drift in drifts]
    assert 0.90 <= np.mean([c.low <= 1.1 <= c.high for c in found]) <= 0.98


def test_a_percentile_bootstrap_over_five_blocks_would_not():
    logs = heavy(np.random.default_rng(1), (1000, 5))
    boot = stats.bootstrap(
        (logs,), np.mean, axis=1, method="percentile", n_resamples=999, rng=np.random.default_rng(2)
    ).confidence_interval
    assert np.mean((boot.low <= 0) & (boot.high >= 0)) < 0.88


def test_drift_shared_by_a_block_cancels():
    a, b = np.random.default_rng(0).uniform(1, 1.1, (2, 6, 3))
    drift = np.geomspace(1, 50, 6)[:, None]
    assert compare(a * drift, b * drift).high == pytest.approx(compare(a, b).high)


def test_a_over_b_is_the_inverse_of_b_over_a():
    a, b = rounds(np.random.default_rng(0), 5, "walk", ratio=1.02)
    one, other = compare(a, b), compare(b, a)
    assert (1 / one.ratio, 1 / one.high) == pytest.approx((other.ratio, other.low))
    assert one.p_equivalence == pytest.approx(other.p_equivalence)


def test_p_values_are_those_of_paired_t_tests_on_logs():
    c = block_ratios(np.random.default_rng(0), 1, 6, ratio=1.01)[0]
    edge = math.log1p(c.margin)
    below = stats.ttest_1samp(c.log_ratios, edge, alternative="less").pvalue
    above = stats.ttest_1samp(c.log_ratios, -edge, alternative="greater").pvalue
    assert c.p_difference == pytest.approx(stats.ttest_1samp(c.log_ratios, 0).pvalue)
    assert c.p_equivalence == pytest.approx(max(below, above))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([[1.0]] * 3, [[1.0]] * 2, "a has 3 blocks and b has 2"),
        ([], [], "a: no blocks"),
        ([[1.0], []], [[1.0], [1.0]], "a, block 1: expected a flat, non-empty list"),
        ([[1.0]], [[0.0]], "b, block 0: sample 0.0 must be positive"),
    ],
)
def test_blocks_that_cannot_be_compared_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        compare(a, b)


# When enough is measured


def next_round(found, half_width, **time):
    """What is decided on these comparisons."""
    fewest, widest = min(c.replicates for c in found), max(map(half_width_of, found))
    return decide(fewest, widest, half_width, **time)


def test_a_study_goes_on_until_its_intervals_are_narrow_or_its_time_is_over():
    narrow, wide = ([from_log_ratios(x * np.arange(-2.0, 3), 0.02, 0.95)] for x in (0.002, 0.05))
    assert not next_round(narrow, 0.02).another and next_round(wide, 0.02).another
    assert "the widest interval is" in next_round(narrow + wide, 0.02).reason
    early = [from_log_ratios([0.0, 1e-4, 2e-4, 1e-4], 0.02, 0.95)]
    assert next_round(early, 0.02).reason == "4 rounds of at least 5"
    assert not next_round(wide, 0.02, minutes_a_round=2, minutes_left=1.9).another
    assert next_round(wide, 0.02, minutes_a_round=2, minutes_left=2).another
    half = half_width_of(narrow[0])
    assert half == pytest.approx(math.expm1(stats.t.isf(ALPHA / 2, 4) * narrow[0].error))
    with pytest.raises(ValueError, match="half_width is 0"):
        next_round(narrow, 0)


def test_stopping_by_the_width_keeps_false_words_rare():
    rng, false = np.random.default_rng(0), 0
    for _ in range(400):
        logs = rng.normal(0, 0.03, 40)
        for n in range(FIRST, 41):
            found = [from_log_ratios(logs[:n], 0.0, 0.95)]
            if not next_round(found, 0.03).another:
                break
        false += words(found, alpha=ALPHA) != ["inconclusive"]
    assert false / 400 <= 0.06


# Two studies measured apart


def apart(rng, cells, replicates, shift=0.0, changes=(), sd=0.016):
    """Cells of two studies whose second is exp(shift) as long; the first few change besides."""
    made = []
    for i in range(cells):
        own = shift + (changes[i] if i < len(changes) else 0.0)
        one, other = (np.exp(sd * rng.normal(size=(replicates, 1)) + x).tolist() for x in (own, 0))
        made.append((dict(enumerate(one)), dict(enumerate(other))))
    return made


@pytest.mark.parametrize(("cells", "replicates"), [(4, 5), (45, 3), (45, 5)])
def test_a_cell_against_the_others_is_covered_whatever_the_shift(cells, replicates):
    rng = np.random.default_rng(cells + replicates)
    held = []
    for _ in range(60 if cells > 9 else 300):
        made = apart(rng, cells, replicates, rng.normal(0, 0.1), [0.1])
        shift, found = compare_with_shift(made, 0.05)
        held += [
            c.low <= math.exp(true) <= c.high for c, true in zip(found[:2], (0.1, 0.0), strict=True)
        ]
        assert shift.cells == cells and shift.low < shift.ratio < shift.high
    assert 0.92 <= np.mean(held) <= 0.99


def test_what_a_whole_round_met_is_taken_out_of_many_cells():
    rng = np.random.default_rng(0)
    made = apart(rng, 20, 5)
    pace = np.exp([0.0, 0.5, -0.5, 0.3, 0.1])
    drifted = [
        ({r: [ms * pace[r] for ms in blocks] for r, blocks in a.items()}, b) for a, b in made
    ]
    (_, calm), (_, rough) = compare_with_shift(made, 0.05), compare_with_shift(drifted, 0.05)
    assert [c.error for c in rough] == pytest.approx([c.error for c in calm], rel=0.1)


def test_cells_lend_one_another_degrees_of_freedom_as_far_as_they_agree():
    rng = np.random.default_rng(1)
    same = compare_with_shift(apart(rng, 10, 3), 0.05)[1]
    assert min(c.freedom for c in same) > 20
    wild = apart(rng, 5, 3) + apart(rng, 5, 3, sd=0.3)
    assert max(c.freedom for c in compare_with_shift(wild, 0.05)[1]) < 12
    errors = [c.error for c in compare_with_shift(wild, 0.05)[1]]
    assert min(errors[5:]) > 2 * max(errors[:5])


def test_few_cells_and_single_processes_tell_no_shift():
    rng = np.random.default_rng(0)
    shift, found = compare_with_shift(apart(rng, 2, 5, shift=0.5), 0.05)
    assert shift is None and found[0].ratio == pytest.approx(math.exp(0.5), rel=0.1)
    shift, found = compare_with_shift(apart(rng, 5, 1), 0.05)
    assert shift is None and {c.low for c in found} == {None}
    assert at(compare_with_shift(apart(rng, 4, 5), 0.05)[1][0], 0.02, 0.8).level == 0.8


# Words


@pytest.mark.parametrize(
    ("ratio", "word"),
    [(1.05, "slower"), (1 / 1.05, "faster"), (1.2, "slower"), (1 / 1.2, "faster")],
)
def test_five_and_twenty_percent_are_found(ratio, word):
    rng = np.random.default_rng(0)
    for _ in range(10):
        found = words(block_ratios(rng, 20, REPLICATES, ratio)).count(word)
        assert found == 20 if abs(math.log(ratio)) > 0.1 else found >= 18


def test_a_lone_five_percent_is_found_among_equal_cells():
    rng = np.random.default_rng(0)
    families = [
        block_ratios(rng, 1, REPLICATES, 1.05) + block_ratios(rng, 19, REPLICATES)
        for _ in range(20)
    ]
    assert sum(words(family)[0] == "slower" for family in families) >= 18


@pytest.mark.parametrize("replicates", [3, 5, 10])
@pytest.mark.parametrize("spread", [0.005, 0.015, 0.05])
def test_of_twenty_equal_pairs_at_most_two_are_called_different(replicates, spread):
    rng = np.random.default_rng(0)
    called = [words(block_ratios(rng, 20, replicates, spread=spread)) for _ in range(10)]
    different = [w.count("faster") + w.count("slower") for w in called]
    assert max(different) <= 2
    assert sum(different) <= 0.05 * 200


def test_one_percent_is_never_called_in_the_wrong_direction():
    assert "faster" not in words(block_ratios(np.random.default_rng(0), 200, REPLICATES, 1.01))


def test_equal_and_quiet_is_equivalent_and_noisy_is_inconclusive():
    rng = np.random.default_rng(0)
    assert words(block_ratios(rng, 20, REPLICATES, spread=0.005)) == ["equivalent"] * 20
    assert words(block_ratios(rng, 20, 3, spread=0.05)) == ["inconclusive"] * 20


def test_a_real_difference_within_the_margin_is_equivalent():
    c = from_log_ratios([0.009, 0.010, 0.011] * 3, margin=0.02, level=0.95)
    assert c.p_difference < 1e-6
    assert words([c]) == ["equivalent"]
    assert words([c], margin=0.005) == ["slower"]


def test_every_word_agrees_with_its_interval_and_p_value():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        ratios = rng.choice([0.8, 0.97, 1.0, 1.01, 1.05], 12)
        family = [block_ratios(rng, 1, int(rng.integers(2, 9)), r, 0.02)[0] for r in ratios]
        for v in verdicts(family):
            within = 1 / (1 + v.margin) < v.low and v.high < 1 + v.margin
            excludes_one = v.high < 1 or v.low > 1
            assert (v.word == "equivalent") == within
            assert (v.word in ("faster", "slower")) == (excludes_one and not within)
            assert (v.word == "faster") <= (v.ratio < 1)
            assert (v.p_adjusted <= 0.05) == (v.word != "inconclusive")
            seen.add(v.word)
    assert seen == {"faster", "slower", "equivalent", "inconclusive"}


def test_the_level_widens_with_the_cells_and_narrows_with_the_findings():
    clear, noise = [0.2, 0.21, 0.19, 0.2], [0.3, -0.3, 0.2, -0.1]
    family = [from_log_ratios(x, 0.02, 0.95) for x in [clear] * 3 + [noise] * 7]
    assert [v.level for v in verdicts(family)] == pytest.approx([1 - 0.05 * 3 / 10] * 10)
    assert verdicts(family[:1])[0].level == pytest.approx(0.95)
    assert verdicts([]) == []


def test_byte_counts_repeat_exactly_and_still_get_a_word():
    assert words([compare([[512.0]] * 3, [[1024.0]] * 3)]) == ["faster"]
    assert words([compare([[512.0]] * 3, [[512.0]] * 3)]) == ["equivalent"]


# What the machine could have seen


@pytest.mark.parametrize("replicates", [3, 10])
def test_the_smallest_detectable_difference_is_found_four_times_in_five(replicates):
    rng = np.random.default_rng(0)
    controls = [from_log_ratios(row, 0.02, 0.95) for row in rng.normal(0, 0.01, (400, replicates))]
    seen = smallest_detectable(controls)
    assert (seen.sd, seen.replicates) == (pytest.approx(0.01, rel=0.05), replicates)
    effect = math.log1p(seen.relative)
    found = stats.ttest_1samp(rng.normal(effect, 0.01, (20_000, replicates)), 0, axis=1)
    assert np.mean((found.pvalue < 0.05) & (found.statistic > 0)) == pytest.approx(0.8, abs=0.03)


def test_controls_with_more_replicates_weigh_more():
    controls = [from_log_ratios(x, 0.02, 0.95) for x in ([0.01, -0.01], [0.0, 0.0, 0.0, 0.0])]
    seen = smallest_detectable(controls)
    assert (seen.sd, seen.replicates) == (pytest.approx(0.01 * math.sqrt(2 / 4)), 2)


def test_the_only_difference_of_a_family_is_found_four_times_in_five_where_said():
    rng, of, n = np.random.default_rng(0), 8, 5
    table = [from_log_ratios(row, 0.02, 0.95) for row in rng.normal(0, 0.02, (400, n))]
    seen = smallest_detectable(table, of=of)
    assert seen.relative > 1.5 * smallest_detectable(table).relative
    found = 0
    for _ in range(400):
        logs = rng.normal(0, 0.02, (of, n))
        logs[0] += math.log1p(seen.relative)
        found += words([from_log_ratios(row, 0.0, 0.95) for row in logs])[0] == "slower"
    assert found / 400 == pytest.approx(0.8, abs=0.05)


def test_the_replicates_needed_are_the_fewest_that_show_it():
    controls = [from_log_ratios([0.015, 0.0, -0.015], 0.02, 0.95)]
    n = replicates_needed(0.02, 0.015)
    assert smallest_detectable(controls, n).relative <= 0.02
    assert smallest_detectable(controls, n - 1).relative > 0.02
    assert replicates_needed(0.001, 0.5) is None
    assert replicates_needed(0.001, 0.005, 0.00125, most=1000) > 300


def test_a_correction_s_degrees_of_freedom_widen_the_interval():
    logs = [0.01, -0.01, 0.02, 0.0, 0.03]
    paid, free = from_log_ratios(logs, 0.02, 0.95, lost=1.0), from_log_ratios(logs, 0.02, 0.95)
    assert (paid.freedom, paid.ratio) == (3, free.ratio)
    assert paid.error == pytest.approx(free.error * math.sqrt(4 / 3)) and paid.high > free.high
    with pytest.raises(ValueError, match="lost is 4"):
        from_log_ratios(logs, 0.02, 0.95, lost=4.0)


def test_no_variance_is_estimated_from_single_replicates():
    with pytest.raises(ValueError, match="no comparison with two or more replicates"):
        smallest_detectable([from_log_ratios([0.1], 0.02, 0.95)])


# Lines over depth

DEPTHS = np.array([64.0, 128, 256, 512, 768, 1024])


def times_over_depth(rng, drift, intercept, slope):
    """(R, D) times of one version on a machine whose speed in block r is drift[r]."""
    speed = drift * np.exp(0.01 * heavy(rng, drift.size))
    noise = np.exp(0.003 * heavy(rng, (drift.size, DEPTHS.size)))
    return speed[:, None] * (intercept + slope * DEPTHS) * noise


def test_line_and_break_even_intervals_cover_the_truth():
    rng, replicates = np.random.default_rng(0), 5
    covered = np.zeros(3)
    for _ in range(200):
        drift = np.exp(0.01 * rng.normal(size=replicates))
        a = fit_line(DEPTHS, times_over_depth(rng, drift, 10.0, 0.001))
        b = fit_line(DEPTHS, times_over_depth(rng, drift, 9.5, 0.002))
        cross = break_even(a, b, 1024)  # at depth 500
        covered += (
            a.slope_low <= 0.001 <= a.slope_high,
            a.intercept_low <= 10 <= a.intercept_high,
            cross.low is not None and cross.low <= 500 <= (cross.high or math.inf),
        )
        assert cross.depth is None or cross.low <= cross.depth <= (cross.high or math.inf)
    assert (covered / 200 >= 0.90).all() and (covered / 200 <= 0.99).all()


def test_one_disturbed_step_does_not_tilt_the_line():
    times = 10 + 0.002 * DEPTHS
    times[2] *= 10
    line = fit_line(DEPTHS, [times])
    assert (line.slope, line.intercept) == pytest.approx((0.002, 10))


def exact(intercept, slope, still=False):
    wobble = np.linspace(1 if still else 0.99, 1 if still else 1.01, 5)[:, None]
    return fit_line(DEPTHS, wobble * (intercept + slope * DEPTHS))


def test_break_even_is_where_the_lines_cross():
    got = break_even(exact(10, 0.001), exact(9.5, 0.002), 1024)
    assert (got.depth, got.low, got.high) == pytest.approx((500, 500, 500), rel=1e-3)
    assert not got.extrapolated


def test_break_even_may_be_zero_where_the_start_is_undecided():
    a = fit_line(DEPTHS, [10 + start + 0.001 * DEPTHS for start in (0.3, -0.1, 0.1)])
    b = fit_line(DEPTHS, [10 + 0.002 * DEPTHS] * 3)
    got = break_even(a, b, 1024)
    error = stats.t.isf(0.025, 2) * 0.2 / math.sqrt(3)
    assert (got.depth, got.low, got.high) == pytest.approx((100, 0, 100 + error / 0.001))


def test_break_even_of_an_always_faster_version_is_zero():
    got = break_even(exact(9, 0.001), exact(10, 0.001), 1024)
    assert (got.depth, got.low, got.high, got.reason) == (0, 0, 0, None)


def test_break_even_beyond_the_context_is_none():
    got = break_even(exact(10, 0.001), exact(8, 0.002), 1024)  # would be 2000
    assert (got.depth, got.high, got.reason) == (None, None, "beyond the context")
    assert break_even(exact(10, 0.002), exact(10, 0.002), 1024).depth is None


def test_break_even_outside_the_depths_measured_says_so():
    assert break_even(exact(10, 0.001), exact(8, 0.002), 4096).extrapolated


def test_a_version_that_is_faster_only_at_first_has_no_break_even():
    got = break_even(exact(9.5, 0.002), exact(10, 0.001), 1024)
    assert (got.depth, got.low) == (None, None)
    assert got.reason == "faster only below 500"


def wobbling(start, gain, size):
    """A line pair's first line whose start scatters by `size` over five blocks."""
    errors = size * np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    return fit_line(DEPTHS, [10 + start + error + gain * DEPTHS for error in errors])


@pytest.mark.parametrize(
    ("start", "gain", "size", "reason"),
    [
        (1.0, 0.0, 0.1, "beyond the context"),  # parallel: nothing is said of what lies beyond
        (1.0, 0.001, 0.1, "never"),
        (-1.0, 0.004, 0.1, "faster only below 250"),
        (0.0, 0.0, 0.1, "too close to tell"),
        (0.1, -0.0005, 1.0, "too close to tell"),  # the point crosses, the data do not say so
        (1.0, -0.0012, 0.5, "too close to tell"),  # slower at first, undecided at the context
        (-1.0, 0.0008, 0.5, "too close to tell"),
        (1.0, -0.002, 0.1, None),
        (-1.0, 0.0, 0.1, None),
    ],
)
def test_the_words_of_a_break_even_follow_from_the_interval_alone(start, gain, size, reason):
    got = break_even(wobbling(start, gain, size), exact(10, 0.0, still=True), 1024)
    assert got.reason == reason
    assert (got.depth is None) == (reason is not None)
    if reason is None:
        assert got.low <= got.depth <= got.high < 1024
    if reason in ("never", "beyond the context") or "only" in (reason or ""):
        assert (got.low, got.high) == (None, None)
    if reason == "too close to tell":
        assert got.high is None


def test_degrees_of_freedom_lost_widen_a_line_and_its_break_even():
    times = [10 + e - 0.002 * DEPTHS + 0.5 for e in (-0.1, 0.0, 0.1, 0.05)]
    free, paid = fit_line(DEPTHS, times), fit_line(DEPTHS, times, lost=0.8)
    assert paid.intercept_high > free.intercept_high and paid.slope == free.slope
    other = exact(10, 0.0, still=True)
    four = fit_line(DEPTHS, [np.full(DEPTHS.size, 10.0)] * 4)
    assert break_even(paid, four, 1024).high > break_even(free, four, 1024).high
    with pytest.raises(ValueError, match="differ in blocks"):
        break_even(paid, other, 1024)


def test_lines_too_close_to_call_leave_the_break_even_open():
    rng = np.random.default_rng(0)
    a = fit_line(DEPTHS, times_over_depth(rng, np.ones(4), 10.0, 0.00100))
    b = fit_line(DEPTHS, times_over_depth(rng, np.ones(4), 10.0, 0.00101))
    got = break_even(a, b, 1024)
    assert (got.low, got.high) == (0, None)


def test_a_version_that_may_be_faster_at_first_is_not_said_to_be():
    a = fit_line(DEPTHS, [10 + start + 0.0011 * DEPTHS for start in (-0.3, 0.1, 0.1)])
    got = break_even(a, fit_line(DEPTHS, [10 + 0.001 * DEPTHS] * 3), 1024)
    assert (got.depth, got.reason) == (None, "too close to tell")


def test_lines_of_one_replicate_have_no_interval():
    one, two = fit_line(DEPTHS, [10 + 0.001 * DEPTHS]), fit_line(DEPTHS, [9.5 + 0.002 * DEPTHS])
    got = break_even(one, two, 1024)
    assert (one.slope_low, got.low, got.high) == (None, None, None)
    assert got.depth == pytest.approx(500)
    assert "one replicate" in got.reason


@pytest.mark.parametrize(
    ("depths", "times", "message"),
    [
        ([5, 5], [[1, 2]], "two different depths"),
        ([1, 2], [[1, 2], [1]], "block 1: 1 times for 2 depths"),
        ([1, 2], [], "no blocks"),
    ],
)
def test_points_that_make_no_line_are_refused(depths, times, message):
    with pytest.raises(ValueError, match=message):
        fit_line(depths, times)


# Dependent windows


@pytest.mark.parametrize("dependence", [0.0, 0.3])
def test_the_mean_over_dependent_windows_is_covered(dependence):
    noise = np.random.default_rng(0).standard_t(4, (500, 160))
    texts = lfilter([1], [1, -dependence], noise, axis=1)[:, 100:]
    found = [block_bootstrap_mean(text, seed=1, resamples=500) for text in texts]
    assert 0.90 <= np.mean([m.low <= 0 <= m.high for m in found]) <= 0.98


def test_a_few_windows_spread_over_a_dependent_text_are_covered():
    noise = np.random.default_rng(0).standard_t(4, (500, 440))
    few = lfilter([1], [1, -0.6], noise, axis=1)[:, 100::42]  # 9 of 340
    found = [block_bootstrap_mean(x, seed=1, of=340, resamples=500) for x in few]
    assert {m.block for m in found} == {1}
    assert 0.90 <= np.mean([m.low <= 0 <= m.high for m in found]) <= 0.98


def test_the_interval_of_independent_windows_is_students():
    x = stats.norm.ppf((np.arange(10) + 0.5) / 10)
    half = stats.t.isf(0.025, 9) * x.std(ddof=1) / math.sqrt(10)
    got = block_bootstrap_mean(x, 1, seed=1)
    assert (got.low, got.high) == pytest.approx((-half, half), rel=0.03)


def test_every_resampled_series_has_all_its_windows():
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(_resampled_means(np.ones(11), 4, 50, rng), 1)
    first = np.eye(1, 10).ravel()  # the first window is drawn as often as the others
    assert _resampled_means(first, 4, 20_000, rng).mean() == pytest.approx(0.1, rel=0.05)
    x = rng.normal(size=50)
    assert _resampled_means(x, 1, 20_000, rng).std() == pytest.approx(x.std() / 50**0.5, rel=0.03)


def test_blocks_see_the_dependence_that_single_windows_hide():
    x = lfilter([1], [1, -0.8], np.random.default_rng(0).normal(size=500))
    single, blocks = (block_bootstrap_mean(x, block, seed=1) for block in (1, 25))
    assert blocks.high - blocks.low > 1.8 * (single.high - single.low)


@pytest.mark.parametrize("size", [1, 4, 12])
def test_the_mean_over_windows_of_documents_is_covered_by_document(size):
    rng, of = np.random.default_rng(size), np.repeat(np.arange(280 // size), size)
    texts = rng.normal(size=(600, of.max() + 1))[:, of] + rng.normal(size=(600, of.size))
    found = [document_mean(x, of, seed=1, resamples=300) for x in texts]
    assert 0.92 <= np.mean([m.low <= 0 <= m.high for m in found]) <= 0.98
    assert {m.block for m in found} == {size}


def test_documents_of_one_window_are_windows_and_few_documents_say_so():
    x = np.random.default_rng(0).normal(size=20)
    got = document_mean(x, range(20), seed=1)
    half = stats.t.isf(0.025, 19) * x.std(ddof=1) / math.sqrt(20)
    assert got.high - x.mean() == pytest.approx(x.mean() - got.low)
    assert half <= (got.high - got.low) / 2 * (1 + 1e-9) < 1.2 * half  # Student's at least
    assert "one document:" in document_mean(x, [3] * 20, seed=1).reason
    assert "nearly all" in document_mean(x, [3] * 19 + [4], seed=1).reason
    with pytest.raises(ValueError, match="3 for 20 windows"):
        document_mean(x, [1, 2, 3], seed=1)
    same = document_mean([2.0] * 20, range(20), seed=1)
    assert (same.low, same.mean, same.high) == (2.0, 2.0, 2.0)


def test_skewed_documents_are_covered_as_promised():
    rng = np.random.default_rng(3)
    of = np.repeat(np.arange(16), 4)
    texts = rng.exponential(size=(400, 16))[:, of] - 1 + rng.exponential(size=(400, 64)) - 1
    found = [document_mean(x, of, seed=1, resamples=500) for x in texts]
    assert 0.91 <= np.mean([m.low <= 0 <= m.high for m in found]) <= 0.97


def test_the_seed_alone_decides_the_interval():
    x = np.random.default_rng(0).normal(size=100)
    assert block_bootstrap_mean(x, seed=1) == block_bootstrap_mean(x, seed=1)
    assert block_bootstrap_mean(x, seed=1) != block_bootstrap_mean(x, seed=2)


def test_fewer_than_two_blocks_of_windows_give_no_interval():
    got = block_bootstrap_mean([0.1, 0.2, 0.3], block=2, seed=1)
    assert (got.mean, got.low, got.high) == (pytest.approx(0.2), None, None)
    assert got.reason == "3 windows are fewer than two blocks of 2"


# What is stored


def test_results_are_plain_values():
    a, b = rounds(np.random.default_rng(0), 3, "walk")
    c = compare(a, b)
    line = fit_line(DEPTHS, [10 + 0.001 * DEPTHS] * 2)
    results = [
        *(interval(a), c, verdicts([c])[0], smallest_detectable([c]), line),
        *(break_even(line, line, 1024), block_bootstrap_mean(np.arange(20.0), seed=1)),
    ]
    values = [v for r in results for v in dataclasses.asdict(r).values()]
    flat = [x for v in values for x in (v if isinstance(v, tuple) else (v,))]
    assert {type(x) for x in flat} <= {float, int, bool, str, type(None)}
    assert all(math.isfinite(x) for x in flat if isinstance(x, float))


def test_two_wild_replicates_still_give_finite_numbers():
    c = from_log_ratios([1.0, -1.0], 0.02, 0.95)
    v = verdicts([c], alpha=1e-6)[0]
    assert v.word == "inconclusive" and math.isfinite(v.high)
    assert math.isfinite(smallest_detectable([c], alpha=1e-4).relative)
