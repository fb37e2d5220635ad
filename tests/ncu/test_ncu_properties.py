"""One synthetic profile in any layout has one answer, and a damaged file no other."""

import csv
import io
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvbench.ncu import NcuError, parse

SASS = "smsp__sass_thread_inst_executed_op_{}_pred_on.sum"
# The counters of a profile, what each is worth in its quantity, and the units it may come in.
BYTES = {"byte": 1, "Kbyte": 10**3, "Mbyte": 10**6}
COUNTERS = {
    "dram__bytes.sum": ("dram_bytes", 1, BYTES),
    "lts__t_bytes.sum": ("l2_bytes", 1, BYTES),
    "l1tex__t_bytes.sum": ("l1_bytes", 1, BYTES),
    "gpu__time_duration.sum": ("time_ns", 1, {"ns": 1, "nsecond": 1, "us": 10**3, "ms": 10**6}),
    SASS.format("fadd"): ("core_flop", 1, {"inst": 1}),
    SASS.format("fmul"): ("core_flop", 1, {"inst": 1}),
    SASS.format("ffma"): ("core_flop", 2, {"inst": 1}),
    "sm__ops_path_tensor_src_bf16_dst_fp32.sum": ("tensor_flop", 1, {"": 1}),
}
QUANTITIES = list(dict.fromkeys(quantity for quantity, _, _ in COUNTERS.values()))
PERCENT = "sm__throughput.avg.pct_of_peak_sustained_elapsed"  # printed with decimals: the evidence


@dataclass(frozen=True)
class Launch:
    """A kernel launched `times` times with the same counters."""

    kernel: str
    times: int
    values: tuple[int, ...]  # in the order of COUNTERS


@dataclass(frozen=True)
class Style:
    """How a profile is printed."""

    page: str = "long"
    english: bool = True
    grouped: bool = True
    quoted: bool = True
    encoding: str = "utf-8"
    newline: str = "\n"
    noise: str = ""
    scaling: tuple[int, ...] = (0,)  # picks units, in turn
    order: tuple[int, ...] = ()  # of the columns
    dropped: tuple[str, ...] = ()


def total(launches, quantity):
    """The quantity over all launches, straight from the values."""
    return sum(
        launch.times * value * factor
        for launch in launches
        for value, (of, factor, _) in zip(launch.values, COUNTERS.values(), strict=True)
        if of == quantity
    )


def number(value, unit, style):
    """A value as ncu prints it: grouped, with two decimals where the unit is scaled."""
    text = f"{value / unit:{',' if style.grouped else ''}.{2 if unit > 1 else 0}f}"
    return text if style.english else text.translate(str.maketrans(",.", ".,"))


def render(launches, style):
    """The bytes of an export of these launches."""
    scaling = iter(style.scaling * 10_000)

    def cell(name, value):
        units = COUNTERS[name][2]
        unit = list(units)[next(scaling) % len(units)]
        # Two decimals must hold the value: the rounding of real exports has its own test.
        unit = unit if value % max(units[unit] // 100, 1) == 0 else next(iter(units))
        return unit, number(value, units[unit], style)

    percent = "12.34" if style.english else "12,34"
    names = [name for name in COUNTERS if name not in style.dropped]
    rows = []
    facts = ["ID", "Process ID", "Kernel Name", "Block Size", "CC"]
    groups = enumerate(launches)
    if style.page != "summary":
        groups = enumerate(launch for launch in launches for _ in range(launch.times))
    wide = ["byte" if n.endswith("bytes.sum") else next(iter(COUNTERS[n][2])) for n in names]
    if style.page == "wide":
        header = [*facts, *names, PERCENT]
        rows.append([""] * len(facts) + [*wide, "%"])
    elif style.page == "long":
        header = [*facts, "Metric Name", "Metric Unit", "Metric Value"]
    else:
        header = [*facts[1:], "Invocations", "Metric Name", "Metric Unit", "Minimum", "Average"]
    for i, launch in groups:
        fact = [i, 4711, launch.kernel, f"({i}, 1, 1)", "9.0"]
        values = dict(zip(COUNTERS, launch.values, strict=True))
        if style.page == "wide":
            rows.append([*fact, *(number(values[name], 1, style) for name in names), percent])
            continue
        for name, (unit, text) in [(n, cell(n, values[n])) for n in names] + [
            (PERCENT, ("%", percent))
        ]:
            if style.page == "long":
                rows.append([*fact, name, unit, text])
            else:
                rows.append([*fact[1:], launch.times, name, unit, percent, text])
    order = [i for i in style.order if i < len(header)]
    order += [i for i in range(len(header)) if i not in order]
    out = io.StringIO()
    quoting = csv.QUOTE_ALL if style.quoted else csv.QUOTE_MINIMAL
    for row in [header, *rows]:
        out.write(style.noise)
        csv.writer(out, quoting=quoting, lineterminator="\n").writerow([row[i] for i in order])
    return (out.getvalue() + style.noise).replace("\n", style.newline).encode(style.encoding)


launch = st.builds(
    Launch,
    kernel=st.text(st.sampled_from('kf<>:, "ß()'), min_size=1, max_size=9).map("k".__add__),
    times=st.integers(1, 3),
    values=st.tuples(*[st.integers(0, 10**9).map((10).__mul__)] * len(COUNTERS)),
)
style = st.builds(
    Style,
    page=st.sampled_from(["wide", "long", "summary"]),
    english=st.booleans(),
    grouped=st.booleans(),
    quoted=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    noise=st.sampled_from(["", "\n", "loss, 1,5\n", '==PROF== "k", 50%\n', "Schluß 1.234,5\n"]),
    scaling=st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple),
    order=st.permutations(range(12)).map(tuple),
)
quick = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def totals(path, content):
    path.write_bytes(content)
    return parse(path)


@quick
@given(st.lists(launch, min_size=1, max_size=4), style)
def test_every_rendering_of_a_profile_has_the_same_totals(tmp_path, profile, style):
    result = totals(tmp_path / "export.csv", render(profile, style))
    assert {q: result[q] for q in QUANTITIES} == {q: total(profile, q) for q in QUANTITIES}
    assert result["launches"] == sum(launch.times for launch in profile)
    assert sum(kernel["time_ns"] for kernel in result["kernels"]) == result["time_ns"]
    assert result["missing"] == []


@quick
@given(st.lists(launch, min_size=1, max_size=3), style, st.sampled_from(list(COUNTERS)))
def test_a_dropped_counter_leaves_its_quantity_unknown_and_no_other(
    tmp_path, profile, style, dropped
):
    damaged = Style(**vars(style) | {"dropped": (dropped,)})
    result = totals(tmp_path / "export.csv", render(profile, damaged))
    lost = COUNTERS[dropped][0]
    expected = {q: None if q == lost else total(profile, q) for q in QUANTITIES}
    assert {q: result[q] for q in QUANTITIES} == expected
    assert result["missing"] == [lost]


def rows_of(content):
    return list(csv.reader(io.StringIO(content.decode())))


def written(rows, quoted):
    out = io.StringIO()
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    csv.writer(out, quoting=quoting, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


distinct = st.lists(st.integers(1, 10**7), min_size=24, max_size=24, unique=True).map(
    lambda n: [Launch(f"k{i}", 1, tuple(10 * v for v in n[8 * i : 8 * i + 8])) for i in range(3)]
)
plain = st.builds(
    Style,
    page=st.sampled_from(["wide", "long", "summary"]),
    quoted=st.booleans(),
    scaling=st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple),
    order=st.permutations(range(12)).map(tuple),
)
TOLD = {"Kernel Name", "Metric Name", "Metric Unit", "Metric Value", "Average", *COUNTERS}
OTHER = ["", "byte", "Kbyte", "Gbyte", "ns", "ms", "s", "inst", "%", "furlong"]


@quick
@given(distinct, plain, st.data())
def test_a_changed_cell_changes_the_result_or_is_refused(tmp_path, profile, style, data):
    """Another unit, two cells swapped, two columns' names swapped: never the totals of before."""
    content = render(profile, style)
    rows = rows_of(content)
    columns = [i for i, name in enumerate(rows[0]) if name in TOLD]
    names = [i for i, name in enumerate(rows[0]) if name == "Metric Name"]
    units = [i for i, name in enumerate(rows[0]) if name == "Metric Unit"] or columns
    needed = [r for r in rows[1:] if not names or r[names[0]] in COUNTERS]
    harm = data.draw(st.sampled_from(["unit", "swap", "header"]))
    if harm == "unit":
        row, at = rows[1] if style.page == "wide" else data.draw(st.sampled_from(needed)), units
        i = data.draw(st.sampled_from([i for i in at if rows[0][i] != "Kernel Name"]))
        worth = "1" if row[i] in ("", "inst") else row[i].lower().replace("nsecond", "ns")
        other = [u for u in OTHER if ("1" if u in ("", "inst") else u.lower()) != worth]
        row[i] = data.draw(st.sampled_from(other))
    else:
        row = rows[0] if harm == "header" else data.draw(st.sampled_from(needed))
        i, j = data.draw(st.permutations(columns))[:2]
        named = rows[0] if style.page == "wide" else row  # a raw page names counters in its header
        kinds = [COUNTERS[n][:2] if n in COUNTERS else n for n in (named[i], named[j])]
        if kinds[0] == kinds[1] or set(kinds) == {"inst", ""}:  # one is as good as the other
            return
        row[i], row[j] = row[j], row[i]
    before = totals(tmp_path / "export.csv", content)
    try:
        after = totals(tmp_path / "export.csv", written(rows, style.quoted))
    except NcuError:
        return
    assert any(before[key] != after[key] for key in ("launches", *QUANTITIES, "kernels"))


@quick
@given(distinct, plain, st.data())
def test_a_row_cut_short_tells_no_other_number(tmp_path, profile, style, data):
    content = render(profile, style)
    rows = rows_of(content)
    row = data.draw(st.sampled_from(rows[1:]))
    del row[data.draw(st.integers(1, len(row) - 1)) :]
    before = totals(tmp_path / "export.csv", content)
    try:
        after = totals(tmp_path / "export.csv", written(rows, style.quoted))
    except NcuError:
        return
    whole = after["launches"] == before["launches"]
    assert not whole or all(after[key] in (None, before[key]) for key in QUANTITIES)


@pytest.mark.parametrize("page", ["wide", "long", "summary"])
@pytest.mark.parametrize("quoted", [True, False])
def test_a_file_cut_at_any_byte_tells_no_other_number(tmp_path, page, quoted):
    profile = [Launch("k, 1", 1, tuple(range(10, 90, 10))), Launch("f", 1, (12_340,) * 8)]
    # Few counters keep it short: every byte of it is one run.
    dropped = ("lts__t_bytes.sum", "l1tex__t_bytes.sum", *(n for n in COUNTERS if "sass" in n))
    whole = render(profile, Style(page, quoted=quoted, dropped=dropped))
    refused = 0
    for end in range(len(whole)):
        try:
            result = totals(tmp_path / "export.csv", whole[:end])
        except NcuError:
            refused += 1
            continue
        seen = profile[: result["launches"]]
        for quantity in QUANTITIES:
            assert result[quantity] in (None, total(seen, quantity)), whole[:end]
            assert (result[quantity] is None) == (quantity in result["missing"])
        # Only a cut between two rows leaves nothing to notice.
        between = whole[:end].endswith(b"\n")
        assert between or any("no newline" in note for note in result["notes"])
    assert refused > 0.9 * len(whole)
