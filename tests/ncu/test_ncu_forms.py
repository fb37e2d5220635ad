"""Exports in other forms: rates for sums, other years' names, two devices, pages for people."""

import pytest
from damage import damaged, read_or_refused
from hypothesis import HealthCheck, given, settings

from kvbench.ncu import NcuError, parse
from kvbench.ncu.__main__ import main

FRONT = {"ID": "0", "Process ID": "1", "Kernel Name": "gemv", "Device": "0", "CC": "9.0"}
SASS = "smsp__sass_thread_inst_executed_op_{}_pred_on.sum"
EACH = {"fadd": 1, "fmul": 2, "ffma": 4}
RATES = {f"{SASS.format(op)}.per_cycle_elapsed": count for op, count in EACH.items()}
RATE_UNITS = dict.fromkeys(RATES, "inst/cycle")


def line(cells):
    return ",".join(f'"{cell}"' for cell in cells) + "\n"


def page(*launches, units=None):
    """A raw page of these launches, each a mapping of metrics."""
    names = list(launches[0])
    below = [(units or {}).get(name, "") for name in names]
    text = line([*FRONT, *names]) + line([*[""] * len(FRONT), *below])
    for number, launch in enumerate(launches):
        text += line([*(FRONT | {"ID": number}).values(), *launch.values()])
    return text


@pytest.fixture
def totals(tmp_path):
    def parsed(text, **how):
        (tmp_path / "export.csv").write_text(text)
        return parse(tmp_path / "export.csv", **how)

    return parsed


@pytest.mark.parametrize(
    "cycles, units",
    [
        ({"smsp__cycles_elapsed.avg": 1000}, {"smsp__cycles_elapsed.avg": "cycle"}),
        ({"sm__cycles_elapsed.max": 1000}, {"sm__cycles_elapsed.max": "cycle"}),
        (
            {"smsp__cycles_elapsed.avg.per_second": 1, "gpu__time_duration.sum": 1000},
            {"smsp__cycles_elapsed.avg.per_second": "Ghz", "gpu__time_duration.sum": "ns"},
        ),
    ],
    ids=["cycles", "most cycles", "clock and time"],
)
def test_flop_per_cycle_times_cycles_are_flop(totals, cycles, units):
    found = totals(page(RATES | cycles, units=RATE_UNITS | units), families=True)
    assert found["core_flop"] == found["core_flop_by"]["fp32"] == (1 + 2 + 2 * 4) * 1000
    assert any("fp32 per cycle x" in note for note in found["notes"])
    assert any("rounded as printed" in note for note in found["notes"])


def test_flop_per_cycle_without_cycles_or_with_an_operation_missing_are_noted(totals):
    time = {"gpu__time_duration.sum": 5}
    found = totals(page(RATES | time, units=RATE_UNITS | {"gpu__time_duration.sum": "ns"}))
    assert found["core_flop"] is None
    assert any("is there per cycle, which needs cycles" in note for note in found["notes"])
    part = dict(list(RATES.items())[:2]) | time | {"sm__cycles_elapsed.max": 9}
    found = totals(page(part, units=RATE_UNITS | {"gpu__time_duration.sum": "ns"}))
    assert found["core_flop"] is None
    assert any("all three operations" in note for note in found["notes"])


def test_bytes_per_second_times_time_are_bytes(totals):
    rate = {"dram__bytes.sum.per_second": 2, "gpu__time_duration.sum": 3}
    units = {"dram__bytes.sum.per_second": "Gbyte/s", "gpu__time_duration.sum": "us"}
    assert totals(page(rate, units=units))["dram_bytes"] == 6000


@pytest.mark.parametrize(
    "metrics, quantity, value",
    [
        ({"fbpa__dram_read_bytes.sum": 64, "fbpa__dram_write_bytes.sum": 32}, "dram_bytes", 96),
        ({"dram__sectors.sum": 2}, "dram_bytes", 64),
        ({"dram_read_bytes": 10, "dram_write_bytes": 5, "dram__x": 0}, "dram_bytes", 15),
        ({"lts__t_sectors.sum": 3}, "l2_bytes", 96),
        ({"l1tex__t_sectors.sum": 3}, "l1_bytes", 96),
    ],
)
def test_counters_of_other_years_are_read(totals, metrics, quantity, value):
    units = {name: "sector" if "sectors" in name else "byte" for name in metrics}
    assert totals(page(metrics, units=units))[quantity] == value


@pytest.mark.parametrize(
    "name, quantity",
    [
        ("dram__bytes.avg.pct_of_peak_sustained_elapsed", "dram_bytes"),
        ("lts__t_bytes.avg.per_second", "l2_bytes"),
        ("derived__smsp__sass_thread_inst_executed_op_ffma_pred_on_x2", "core_flop"),
        ("sm__inst_executed_pipe_tensor_op_hmma.sum.per_cycle_elapsed", "tensor_flop"),
    ],
)
def test_counters_that_are_near_what_is_wanted_are_named(totals, name, quantity):
    metrics = {"gpu__time_duration.sum": 5, name: 7}
    found = totals(page(metrics, units={"gpu__time_duration.sum": "ns"}))
    assert found[quantity] is None
    assert any(note.startswith(f"{quantity}: not known from {name}") for note in found["notes"])


def test_an_option_without_effect_is_noted(totals):
    text = page({"gpu__time_duration.sum": 5}, units={"gpu__time_duration.sum": "ns"})
    said = "flop_per_tensor_inst has no effect"
    assert any(said in note for note in totals(text, flop_per_tensor_inst=512)["notes"])
    assert not any(said in note for note in totals(text)["notes"])


def test_launches_of_two_devices_are_noted(totals):
    one = page(*[{"dram__bytes.sum": 1}] * 2, units={"dram__bytes.sum": "byte"})
    two = one.replace('"1","1","gemv","0"', '"1","1","gemv","1"')
    assert two != one and "launches of 2 devices (0, 1) are added up" in totals(two)["notes"]
    assert not any("devices" in note for note in totals(one)["notes"])


@pytest.mark.parametrize("value", ["1e400", "9" * 400, "10\x0000", "1e31"])
def test_what_no_counter_can_be_is_refused_in_one_line(totals, value):
    with pytest.raises(
        NcuError, match=r"^\S*export\.csv: line 3: gpu__time_duration\.sum is .*no number"
    ):
        totals(page({"gpu__time_duration.sum": value}, units={"gpu__time_duration.sum": "ns"}))


def test_a_page_for_people_is_distinguished_from_a_profile(totals):
    text = (
        "==PROF== Connected to process 7 (/usr/bin/python)\n==PROF== Profiling gemv: 0%..100%\n"
        "  gemv (48, 1, 1)x(128, 1, 1), Context 1, Stream 7, Device 0, CC 9.0\n"
        "    Section: GPU Speed Of Light Throughput\n"
        "    Metric Name               Metric Unit  Metric Value\n"
        "    Duration                           us         38.53\n"
    )
    with pytest.raises(NcuError, match="text report: export it again with --csv --page raw"):
        totals(text)


def test_the_counters_to_ask_for_need_an_ncu(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("kvbench.ncu.runner.find", lambda: None)
    assert main(["metrics"]) == 1
    assert "no ncu" in capsys.readouterr().err


def test_a_damaged_export_is_read_or_refused(tmp_path):
    path = tmp_path / "damaged.csv"
    metrics = RATES | {"sm__cycles_elapsed.max": 1000, "gpu__time_duration.sum": 5}
    units = RATE_UNITS | {"gpu__time_duration.sum": "ns", "sm__cycles_elapsed.max": "cycle"}
    whole = page(*[metrics] * 3, units=units).encode()

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged(whole))
    def check(data):
        path.write_bytes(data)
        with read_or_refused("", NcuError):
            parse(path)

    check()
