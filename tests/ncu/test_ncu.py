"""One trap of real Nsight Compute exports per test; all data is synthetic."""

import json
import subprocess
import sys

import pytest

from kvbench.ncu import NcuError, implausible, launches, parse, text
from kvbench.ncu.__main__ import main

IDENTITY = {
    "ID": "0",
    "Process ID": "4711",
    "Process Name": "python3.12",
    "Host Name": "127.0.0.1",
    "Kernel Name": "k",
    "Context": "1",
    "Stream": "7",
    "Block Size": "(128, 1, 1)",
    "Grid Size": "(2, 1, 1)",
    "Device": "0",
    "CC": "9.0",
}
DRAM, TIME = "dram__bytes.sum", "gpu__time_duration.sum"
SASS = "smsp__sass_thread_inst_executed_op_{}_pred_on.sum"
OPS = "sm__ops_path_tensor_{}.sum"
HMMA = "sm__inst_executed_pipe_tensor_op_hmma.sum"


def line(*fields):
    return ",".join('"' + str(f).replace('"', '""') + '"' for f in fields) + "\n"


def long_page(*rows, section="Command line profiler metrics", process="4711"):
    """Rows of (ID, kernel, metric, unit, value), as a details page has them."""
    names = ("Section Name", "Metric Name", "Metric Unit", "Metric Value")
    page = line(*IDENTITY, *names)
    for launch, kernel, *metric in rows:
        facts = IDENTITY | {"ID": launch, "Kernel Name": kernel, "Process ID": process}
        page += line(*facts.values(), section, *metric)
    return page


def wide_page(units, *rows):
    """Columns {metric: unit} and rows of (ID, kernel, values...), as a raw page has them."""
    page = line(*IDENTITY, *units) + line(*[""] * len(IDENTITY), *units.values())
    for launch, kernel, *values in rows:
        page += line(*(IDENTITY | {"ID": launch, "Kernel Name": kernel}).values(), *values)
    return page


def one(*metrics, kernel="k"):
    """A long page of one launch with (metric, unit, value)s."""
    return long_page(*((0, kernel, *metric) for metric in metrics))


@pytest.fixture
def totals(tmp_path):
    def run(content, **options):
        path = tmp_path / "export.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return parse(path, **options)

    return run


@pytest.fixture
def refusal(totals):
    def run(content):
        with pytest.raises(NcuError) as error:
            totals(content)
        assert str(error.value).isprintable()
        return str(error.value)

    return run


def noted(result, words):
    return any(words in note for note in result["notes"])


# --- pages ------------------------------------------------------------------------------------

TWO_LAUNCHES = long_page(
    (0, "a", DRAM, "byte", "1,000,000"),
    (0, "a", TIME, "ns", "2,000"),
    (1, "b", DRAM, "byte", "500"),
    (1, "b", TIME, "ns", "3,000"),
)


def test_a_long_page_adds_its_launches(totals):
    result = totals(TWO_LAUNCHES)
    assert (result["launches"], result["dram_bytes"], result["time_ns"]) == (2, 1_000_500, 5_000)


def test_a_wide_page_has_its_units_in_the_second_row(totals):
    result = totals(wide_page({DRAM: "Kbyte", TIME: "us"}, (0, "a", "1.50", 2), (1, "b", 4, 3)))
    assert (result["launches"], result["dram_bytes"], result["time_ns"]) == (2, 5_500, 5_000)


def test_a_summary_counts_its_average_once_per_invocation(totals):
    names = ["Process ID", "Kernel Name", "Block Size", "Invocations", "Section Name"]
    page = line(*names, "Metric Name", "Metric Unit", "Minimum", "Maximum", "Average")
    for block, metric, unit, average in (
        ("(1, 1, 1)", DRAM, "byte", "1,500.25"),
        ("(1, 1, 1)", TIME, "ns", "10.00"),
        ("(2, 1, 1)", DRAM, "byte", "2.00"),
        ("(2, 1, 1)", TIME, "ns", "20.00"),
    ):
        page += line(1, "k", block, 4, "s", metric, unit, "1.00", "9,999.00", average)
    result = totals(page)
    assert (result["launches"], result["dram_bytes"], result["time_ns"]) == (8, 6_009, 120)
    assert [kernel["launches"] for kernel in result["kernels"]] == [8]
    assert noted(result, "Average x Invocations")


def test_a_summary_by_nvtx_range_keeps_its_groups_apart(totals):
    page = line(
        "Range:PL_Type", "Kernel Name", "Invocations", "Metric Name", "Metric Unit", "Average"
    )
    for nvtx, times in (("prefill", 2), ("decode", 3)):
        page += line(nvtx, "k", times, DRAM, "byte", "10.00")
    result = totals(page)
    assert (result["launches"], result["dram_bytes"]) == (5, 50)
    assert noted(result, "nested ranges")


def test_the_export_of_the_gui_has_its_units_in_the_header(totals):
    page = line("ID", "Function Name", "Device Name", "Block Size [block]", f"{DRAM} [Mbyte]")
    page += line(0, "k", "NVIDIA L4", "256, 1, 1", "1.50") + line(1, "k", "NVIDIA L4", "1", "2.00")
    result = totals(page)
    assert (result["launches"], result["dram_bytes"]) == (2, 3_500_000)
    assert (result["gpu"], result["kernels"][0]["name"]) == ("NVIDIA L4", "k")


def test_columns_are_found_by_name(totals):
    page = line("Metric Value", "New", "Kernel Name", "Metric Unit", "Metric Name", "ID")
    page += line("7", "?", "k", "byte", DRAM, 0)
    assert totals(page)["dram_bytes"] == 7


def test_a_table_saved_again_without_quotes_is_read(totals):
    page = f'ID,Process ID,Kernel Name,{DRAM}\n,,,byte\n0.0,1,"f(a, b)",12.0\n1.0,1,g,30.0\n'
    assert totals(page)["dram_bytes"] == 42


def test_ids_restart_in_appended_files(totals):
    result = totals(TWO_LAUNCHES + "\ufeff" + TWO_LAUNCHES.replace("4711", "4712"))
    assert (result["launches"], result["dram_bytes"]) == (4, 2_001_000)
    assert not noted(result, "two tables")


def test_a_launch_in_two_tables_is_noted(totals):
    result = totals(TWO_LAUNCHES + TWO_LAUNCHES)
    assert result["launches"] == 4
    assert noted(result, "two tables hold the same process and ID")


def test_ids_may_be_grouped_like_other_numbers(totals):
    page = long_page(("999", "k", DRAM, "byte", 5), ("1,000", "k", DRAM, "byte", 6))
    assert totals(page)["dram_bytes"] == 11


def test_processes_share_ids(totals):
    page = TWO_LAUNCHES + TWO_LAUNCHES.replace("4711", "4712").split("\n", 1)[1]
    assert totals(page)["launches"] == 4


def test_ragged_rows_are_padded_and_rules_skipped(totals):
    page = line(*IDENTITY, "Metric Name", "Metric Unit", "Metric Value", "Rule Name", "Rule Text")
    page += line(*IDENTITY.values(), DRAM, "byte", "5").rstrip() + ",\n"
    page += line(*IDENTITY.values(), "", "", "", "Bottleneck", 'a "long", text\non two lines')
    assert totals(page)["dram_bytes"] == 5


@pytest.mark.parametrize(
    "kernel",
    [
        "void f<128, 64>(int, float *)",
        '<unnamed>::g<"x">(char)',
        "(anonymous namespace)::ß",
        "void h<" + "int, " * 40_000 + ">",
    ],
)
def test_kernel_names_are_kept_whole(totals, kernel):
    result = totals(one((DRAM, "byte", 5), kernel=kernel))
    assert [k["name"] for k in result["kernels"]] == [kernel]


# --- what stands around the tables ------------------------------------------------------------


def test_program_output_is_no_data(totals):
    header, *rows = TWO_LAUNCHES.splitlines(keepends=True)
    noise = 'loss, 1.25, "step", 3\n\n==PROF== Profiling "k" - 0: 0%....100%\n"0","1"\n"0,5 Übung\n'
    page = noise + header + noise + noise.join(rows) + noise + "==PROF== Disconnected\n"
    assert totals(page) == totals(TWO_LAUNCHES) | {"sha256": totals(page)["sha256"]}


def test_unfinished_output_may_stand_before_a_row(totals):
    page = "".join("step 1, 50%" + row + "\n" for row in TWO_LAUNCHES.splitlines())
    assert totals(page)["dram_bytes"] == 1_000_500
    assert totals(TWO_LAUNCHES.replace("\n", "\n 50 %|####\r"))["dram_bytes"] == 1_000_500


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_any_encoding_is_read(totals, encoding, newline):
    page = "Läuft\n" + TWO_LAUNCHES
    assert totals(page.replace("\n", newline).encode(encoding))["dram_bytes"] == 1_000_500


def test_version_and_gpu_are_given_where_the_file_has_them(totals):
    banner = "NVIDIA (R) Nsight Compute Command Line Profiler\nCopyright (c) 2018-2024 NVIDIA\n"
    banner += "Version 2024.3.2.0 (build 34861637) (public-release)\n"
    name = ("device__attribute_display_name", "", "NVIDIA H100 PCIe")
    result = totals(banner + one((DRAM, "byte", 5), name))
    assert (result["ncu_version"], result["gpu"]) == ("2024.3.2.0", "NVIDIA H100 PCIe")
    result = totals(wide_page({name[0]: "", DRAM: "byte"}, (0, "k", name[2], 5)))
    assert (result["ncu_version"], result["gpu"]) == (None, "NVIDIA H100 PCIe")
    assert totals(TWO_LAUNCHES)["gpu"] is None


# --- units and numbers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "nanoseconds"),
    [("ns", 1), ("nsecond", 1), ("us", 1e3), ("usecond", 1e3), ("ms", 1e6), ("s", 1e9)],
)
def test_time_units(totals, unit, nanoseconds):
    assert totals(one((TIME, unit, "50")))["time_ns"] == 50 * nanoseconds


def test_units_may_differ_between_rows_of_one_metric(totals):
    units = {"byte": 1, "Kbyte": 10**3, "Mbyte": 10**6, "Gbyte": 10**9}
    result = totals(long_page(*((i, "k", DRAM, u, "2.00") for i, u in enumerate(units))))
    assert result["dram_bytes"] == 2 * sum(units.values())
    assert noted(result, "rounded")


def test_an_unknown_unit_is_refused_only_where_it_matters(totals, refusal):
    assert "furlong" in refusal(one((DRAM, "furlong", 5)))
    assert "no unit" in refusal(one((TIME, "", 5)))
    assert totals(one((DRAM, "byte", 5), ("sm__warps.sum", "furlong", 3)))["dram_bytes"] == 5
    assert totals(one((DRAM, "byte", 5), (TIME, "", "n/a")))["missing"].count("time_ns") == 1


def test_european_numbers_are_recognised_by_one_that_can_be_nothing_else(totals):
    doubtful = (TIME, "ns", "117.344")
    assert totals(one(doubtful, (DRAM, "byte", "27.595.520")))["time_ns"] == 117_344
    assert totals(one(doubtful, ("sm__throughput.avg", "%", "65,77")))["time_ns"] == 117_344
    assert totals(one(doubtful, ("sm__throughput.avg", "%", "65.77")))["time_ns"] == 117
    wide = wide_page({TIME: "us", "sm__x.avg": "%"}, (0, "k", "1.234", "0,5"))
    assert totals(wide)["time_ns"] == 1_234_000


def test_the_compute_capability_says_nothing_about_numbers(refusal):
    assert '"1.234"' in refusal(one((DRAM, "Kbyte", "1.234")))


def test_ambiguous_and_contradicting_numbers_are_refused(refusal):
    assert "ambiguous" in refusal(one((DRAM, "byte", "1.234"), (TIME, "ns", "5.678")))
    assert "ambiguous" in refusal(one((DRAM, "Mbyte", "1,234")))
    assert "European" in refusal(one((DRAM, "byte", "1,234,567"), (TIME, "us", "1,5")))
    assert "no number" in refusal(one((DRAM, "byte", "12 apples")))


@pytest.mark.parametrize("value", ["1,23", "1234,567"])
def test_nothing_has_a_fraction_of_a_byte(totals, refusal, value):
    assert f'"{value}"' in refusal(one((DRAM, "byte", value), (TIME, "ns", 5)))
    european = one((DRAM, "byte", value), ("sm__throughput.avg", "%", "65,77"))
    assert totals(european)["dram_bytes"] == round(float(value.replace(",", ".")))


def test_a_comma_in_whole_units_can_only_part_thousands(totals):
    result = totals(one((DRAM, "byte", "1,234"), (TIME, "ns", "5,678")))
    assert (result["dram_bytes"], result["time_ns"]) == (1_234, 5_678)
    assert noted(result, "commas are read as thousands")


def test_a_table_without_evidence_follows_the_rest_of_the_file(totals):
    german = one((DRAM, "byte", "27.595.520"))
    assert totals(german + one((DRAM, "byte", "1.000")))["dram_bytes"] == 27_596_520


@pytest.mark.parametrize("separator", ["\u00a0", "\u202f", "'", " "])
def test_french_and_swiss_groups(totals, separator):
    value = f"27{separator}595{separator}520"
    assert totals(one((DRAM, "byte", value)))["dram_bytes"] == 27_595_520


@pytest.mark.parametrize("value", ["n/a", "nan", "-nan", "inf", "", "(!) n/a", "N/A", "-1.#IND"])
def test_a_value_that_is_none_is_missing_and_never_zero(totals, value):
    result = totals(one((DRAM, "byte", value), (TIME, "ns", 5)))
    assert result["dram_bytes"] is None
    assert "dram_bytes" in result["missing"]


# --- which counters ---------------------------------------------------------------------------


def test_only_the_sum_of_a_counter_is_added(totals):
    other = ("avg", "max", "min", "sum.per_second", "sum.pct_of_peak_sustained_elapsed")
    decoys = [
        (f"{name}.{o}", "byte", 99) for name in ("dram__bytes", "lts__t_bytes") for o in other
    ]
    decoys += [
        ("dram__bytes_read.sum.peak_sustained", "byte", 99),
        ("xdram__bytes.sum", "byte", 99),
    ]
    result = totals(one((DRAM, "byte", 5), (TIME, "ns", 6), *decoys))
    assert (result["dram_bytes"], result["l2_bytes"], result["time_ns"]) == (5, None, 6)


def test_the_label_duration_stands_in_for_the_time_but_is_never_added(totals):
    section = "GPU Speed Of Light Throughput"
    label = long_page((0, "k", "Duration", "us", "10.34"), section=section)
    assert totals(label)["time_ns"] == 10_340
    assert noted(totals(label), "label Duration")
    row = label.splitlines(keepends=True)[1]
    assert totals(one((TIME, "ns", 10_336), (DRAM, "byte", 5)) + row)["time_ns"] == 10_336
    sampling = long_page((0, "k", "Duration", "us", "9"), (0, "k", DRAM, "byte", 5), section="PM")
    assert totals(sampling)["time_ns"] is None


def test_time_falls_back_on_cycles(totals):
    cycles = ("sm__cycles_elapsed.avg", "cycle", "3,000")
    for unit, rate in (("Ghz", "1.50"), ("cycle/nsecond", "1.50"), ("hz", "1,500,000,000.00")):
        result = totals(one(cycles, (cycles[0] + ".per_second", unit, rate)))
        assert result["time_ns"] == 2_000
    assert noted(result, "sm__cycles_elapsed.avg / ")


@pytest.mark.parametrize("dropped", range(4))
def test_dram_bytes_come_from_the_best_counters_there_are(totals, dropped):
    sources = [
        {DRAM: 640},
        {"dram__bytes_read.sum": 320, "dram__bytes_write.sum": 320},
        {"dram__bytes_op_read.sum": 600, "dram__bytes_op_write.sum": 40},
        {"dram__sectors_read.sum": 10, "dram__sectors_write.sum": 10},
    ]
    there = [
        (name, "sector" if "sectors" in name else "byte", value)
        for source in sources[dropped:]
        for name, value in source.items()
    ]
    result = totals(one(*there))
    assert result["dram_bytes"] == 640
    assert noted(result, f"dram_bytes from {next(iter(sources[dropped]))}")
    assert totals(one((TIME, "ns", 5), *there[-1:]))["dram_bytes"] is None


def test_reads_and_writes_that_miss_the_total_are_noted(totals):
    parts = ("dram__bytes_read.sum", "byte", 60), ("dram__bytes_write.sum", "byte", 30)
    assert noted(totals(one((DRAM, "byte", 100), *parts)), "dram__bytes_read + dram__bytes_write")
    assert not noted(totals(one((DRAM, "byte", 90), *parts)), "dram__bytes_read + dram")


def test_core_flop_weighs_each_instruction(totals):
    ops = {"fadd": 1, "fmul": 1, "ffma": 2, "dadd": 1, "dmul": 1, "dfma": 2}
    ops |= {"hadd": 2, "hmul": 2, "hfma": 4}
    rows = [(SASS.format(op), "inst", 10**i) for i, op in enumerate(ops)]
    expected = sum(10**i * flop for i, flop in enumerate(ops.values()))
    assert totals(one(*rows))["core_flop"] == expected
    older = [(name.replace("smsp__", "sm__"), *rest) for name, *rest in rows]
    assert totals(one(*older))["core_flop"] == expected
    assert totals(one(*older, *rows))["core_flop"] == expected
    packed = [(SASS.format(op), "", 1) for op in ("fadd2", "fmul2", "ffma2")]
    assert totals(one(*rows, *packed))["core_flop"] == expected + 2 + 2 + 4
    apart = totals(one(*rows, (TIME, "ns", 5)), families=True)["core_flop_by"]
    assert apart == {"fp32": 210 + 1, "fp64": 211_000, "fp16": 422_000_000}
    assert noted(totals(one(*rows)), "core_flop by family: fp32 211, fp64 211000, fp16 422000000")
    assert "core_flop_by" not in totals(one(*rows))
    fp32 = totals(one(*rows[:3]))
    assert fp32["core_flop"] == 1 + 10 + 200
    assert noted(fp32, "fp64, fp16")


def test_a_family_with_a_counter_missing_cannot_be_counted(totals):
    rows = [(SASS.format(op), "inst", 5) for op in ("fadd", "ffma")]
    result = totals(one(*rows, (TIME, "ns", 5)))
    assert result["core_flop"] is None
    assert noted(result, "core_flop: fp32 needs the counters of fadd, fmul, ffma")


def test_tensor_flop_is_aggregates_or_leaves_and_never_both(totals):
    leaves = [
        (OPS.format(f"op_{op}_src_bf16_dst_fp32_sparsity_off"), "", flop)
        for op, flop in (("hgmma", 1_000), ("hmma", 200))
    ]
    aggregate = (OPS.format("src_bf16_dst_fp32"), "", 1_200)
    other = (OPS.format("src_fp16"), "", 30)
    assert totals(one(*leaves))["tensor_flop"] == 1_200
    assert totals(one(*leaves, aggregate))["tensor_flop"] == 1_200
    assert totals(one(*leaves, aggregate, other))["tensor_flop"] == 1_230
    part = (OPS.format("src_fp16_dst_fp32"), "", 20)
    assert totals(one(part, other, *leaves))["tensor_flop"] == 1_230
    assert totals(one((aggregate[0], "", "n/a"), *leaves))["tensor_flop"] == 1_200


def test_tensor_counters_that_overlap_have_no_sum(totals):
    rows = [(OPS.format(o), "", 5) for o in ("op_hmma_src_fp16", "src_fp16_dst_fp32")]
    result = totals(one(*rows, (TIME, "ns", 5)))
    assert result["tensor_flop"] is None
    assert noted(result, "twice")


def test_volta_and_turing_need_a_calibrated_factor(totals):
    page = one((HMMA, "inst", "1,000,000"), (TIME, "ns", 5))
    result = totals(page)
    assert result["tensor_flop"] is None
    assert "tensor_flop" in result["missing"]
    assert noted(result, "calibrate")
    assert totals(page, flop_per_tensor_inst=512)["tensor_flop"] == 512_000_000


def test_idle_tensor_counters_on_a_gemm_are_suspect(totals):
    ops = (OPS.format("op_hmma_src_bf16_dst_fp32_sparsity_off"), "", 0)
    for kernel, suspect in (("nvjet_sm100_tst_64x8", True), ("gemv2T_kernel", False)):
        result = totals(one(ops, kernel=kernel))
        assert result["tensor_flop"] == 0
        assert noted(result, "tensor counters read 0 on GEMM kernels") is suspect
    assert not noted(totals(one(ops, kernel="ampere_sgemm_128x64_nn")), "GEMM")


# --- launches ---------------------------------------------------------------------------------


def test_the_same_value_twice_is_one_and_two_values_are_an_error(totals, refusal):
    assert totals(one((DRAM, "byte", "5,000"), (DRAM, "Kbyte", "5.00")))["dram_bytes"] == 5_000
    assert DRAM in refusal(one((DRAM, "byte", "5,000"), (DRAM, "byte", "5,001")))
    row = (0, "k", 5)
    assert totals(wide_page({DRAM: "byte"}, row, row))["launches"] == 1


def test_one_launch_has_one_kernel(refusal):
    page = long_page((0, "a", DRAM, "byte", 5), (0, "b", TIME, "ns", 5))
    assert "two kernel names" in refusal(page)


def test_a_quantity_that_some_launch_lacks_has_no_total(totals):
    result = totals(wide_page({DRAM: "byte", TIME: "ns"}, (0, "a", 5, 6), (1, "b", "nan", 7)))
    assert (result["launches"], result["dram_bytes"], result["time_ns"]) == (2, None, 13)
    assert noted(result, "only 1 of 2 launches")
    assert [k["dram_bytes"] for k in result["kernels"]] == [None, 5]


def test_a_failed_launch_is_left_out_and_noted(totals):
    page = wide_page({DRAM: "byte", TIME: "ns"}, (0, "a", 5, 6), (1, "b", "nan", "nan"))
    result = totals("==ERROR== LaunchFailed\n" + page)
    assert (result["launches"], result["dram_bytes"]) == (1, 5)
    assert noted(result, "1 launches have none of the counters")
    assert noted(result, "LaunchFailed")


def test_kernels_come_longest_first_then_by_name(totals):
    times = {"b": 5, "a": 5, "c": 9}
    page = long_page(*((i, k, TIME, "ns", t) for i, (k, t) in enumerate(times.items())))
    assert [kernel["name"] for kernel in totals(page)["kernels"]] == ["c", "a", "b"]


def test_flop_of_a_kernel_needs_both_kinds(totals):
    core = [(SASS.format(op), "inst", 1) for op in ("fadd", "fmul", "ffma")]
    tensor = (OPS.format("src_bf16_dst_fp32"), "", 10)
    assert totals(one(*core, tensor))["kernels"][0]["flop"] == 14
    assert totals(one(*core))["kernels"][0]["flop"] is None


def test_launches_are_listed_one_by_one(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text(TWO_LAUNCHES)
    first, second = launches(path)
    assert (first["process"], first["id"], first["name"], first["launches"]) == ("4711", 0, "a", 1)
    assert (first["dram_bytes"], second["dram_bytes"], second["l2_bytes"]) == (1e6, 500, None)


def test_what_cannot_be_is_noted():
    result = {"time_ns": 1_000, "dram_bytes": 5_000_000, "core_flop": 10**9, "tensor_flop": 0}
    rate, flop, weights = implausible(
        result, bytes_per_s=4.7e12, flop_per_s=9e14, weight_bytes=6_000_000
    )
    assert "5e+12 byte/s is above the roof of 4.7e+12" in rate
    assert "1e+15 FLOP/s is above the roof of 9e+14" in flop
    assert "fewer than the 6000000 of the weights" in weights
    assert not implausible(result, bytes_per_s=5e12, flop_per_s=1e15, weight_bytes=5e6)
    unknown = dict.fromkeys(result)
    assert not implausible(unknown, bytes_per_s=1, flop_per_s=1, weight_bytes=1)


# --- refusals ---------------------------------------------------------------------------------

CONNECTED = "==PROF== Connected to process 1 (/usr/bin/python3)\n"
DENIED = "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"),
        ("hello, world\n", "no Nsight Compute table"),
        (b"NVR\x00\x12\x00\x00" * 1000, "this is a report: export it first"),
        (b"\x7fELF\x00\x01\x02" * 1000, "no Nsight Compute table"),
        (CONNECTED, "connected, but printed no profile"),
        (CONNECTED + "==WARNING== No kernels were profiled.\n", "no kernels were profiled"),
        (CONNECTED + DENIED, "NVreg_RestrictProfilingToAdminUsers=0"),
        (DENIED + TWO_LAUNCHES, "ERR_NVGPUCTRPERM"),
        ("==ERROR== LibraryNotLoaded\n", "LibraryNotLoaded"),
        (TWO_LAUNCHES.split("\n")[0] + "\n", "the table has no rows"),
        (one(("sm__throughput.avg", "%", "1.5")), "none of the counters"),
        ("==ERROR== LaunchFailed\n" + one((DRAM, "byte", "nan")), "LaunchFailed"),
        (TWO_LAUNCHES.replace('"ID"', '"No"'), "no ID column"),
        (one((DRAM, "byte", 5)).rstrip() + ',"extra"\n', "more fields"),
    ],
)
def test_a_file_without_totals_is_refused_with_its_reason(refusal, content, reason):
    assert reason in refusal(content)


def test_a_file_that_ends_inside_a_row_is_refused(refusal):
    assert "ends inside a row" in refusal(TWO_LAUNCHES[:-4])
    assert "ends inside a row" in refusal(f"ID,Kernel Name,{DRAM}\n,,byte\n0,k,1234"[:-2])
    wide = wide_page({DRAM: "byte", TIME: "ns"}, (0, "a", 5, 6), (1, "b", 7, 8))
    assert "ends inside a row" in refusal(wide[: -len(',"8"\n')])


def test_a_row_cut_in_the_middle_of_the_file_is_refused(refusal):
    header, first, *rest = TWO_LAUNCHES.splitlines(keepends=True)
    assert "line 2" in refusal(header + first[:-5] + "\n" + "".join(rest))


UNQUOTED = f"ID,Process ID,Kernel Name,{DRAM},{TIME}\n,,,byte,ns\n0,1,k,5,6\n1,1,g,7,8\n"


@pytest.mark.parametrize(
    "page",
    [
        UNQUOTED.replace(",k,", ",k<1, 2>,"),  # a name whose commas lost their quotes
        UNQUOTED.replace("0,1,k,5,6", "0,1,k,5"),
        UNQUOTED.replace("0,1,k", ",1,k"),
        TWO_LAUNCHES.replace('"1","4711"', '"","4711"', 1),
        TWO_LAUNCHES.replace('"1","4711"', '"x","4711"', 1),
        TWO_LAUNCHES.replace('"1","4711"', '1","4711"', 1),
    ],
)
def test_a_damaged_row_is_not_taken_for_output(refusal, page):
    assert "a row is damaged" in refusal(page)


def test_a_last_row_without_newline_is_noted(totals):
    assert noted(totals(TWO_LAUNCHES.rstrip()), "no newline")
    assert not noted(totals(TWO_LAUNCHES), "no newline")


# --- command line -----------------------------------------------------------------------------


def test_the_command_prints_one_object_and_the_same_bytes_twice(tmp_path, capsys):
    path = tmp_path / "export.csv"
    path.write_text(TWO_LAUNCHES)
    outputs = []
    for _ in range(2):
        assert main([str(path)]) == 0
        outputs.append(capsys.readouterr())
    assert outputs[0] == outputs[1]
    assert outputs[0].err == ""
    assert list(json.loads(outputs[0].out)) == [
        "launches",
        "dram_bytes",
        "l2_bytes",
        "l1_bytes",
        "time_ns",
        "core_flop",
        "tensor_flop",
        "kernels",
        "missing",
        "notes",
        "ncu_version",
        "gpu",
        "sha256",
    ]


def test_the_command_refuses_with_one_line_and_status_1(tmp_path):
    for name in ("absent.csv", "."):
        done = subprocess.run(
            [sys.executable, "-m", "kvbench.ncu", str(tmp_path / name)],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
        assert name in done.stderr


def test_a_reader_that_closes_early_is_no_error(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text(TWO_LAUNCHES)
    command = f"{sys.executable} -m kvbench.ncu {path} | true"
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


def test_only_a_big_file_reports_progress(tmp_path, capsys, monkeypatch):
    path = tmp_path / "export.csv"
    path.write_text(TWO_LAUNCHES + 4000 * "output\n")
    parse(path, progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(text, "BIG", 1)
    parse(path, progress=True)
    assert "%" in capsys.readouterr().err
