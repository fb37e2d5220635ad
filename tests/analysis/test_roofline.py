"""The roofline: its arithmetic, its figure, and where its counters come from."""

import json
import sys
from itertools import product
from pathlib import Path

import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text

from kvbench.analysis import datasheet, roofline_table
from kvbench.analysis.roofline import plausible, point, predecessors, ratios
from kvbench.bench import roofline_counted
from kvbench.cli import profile as program
from kvbench.job.log import UndeclaredCodeError
from kvbench.ncu import NcuError, command, parse, runner
from kvbench.ncu.__main__ import main
from kvbench.plan.cells import cell
from kvbench.plan.config import ConfigError, load_schema, resolve
from kvbench.plan.study import roofline_source
from kvbench.report import tables
from kvbench.report.figures import roofline, style
from kvbench.report.figures.roofline_counters import short

SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 64, "block_size": 96, "vocab_size": 101}
STUDY = {"pretrained": "null", "model_config": SHAPE, "roofline": {"P": 20}, "dtype": "bfloat16"}
CONFIG = resolve(STUDY, load_schema())
ROOFS = {
    **{"benchmark_name": "roofs", "dtype": "bfloat16", "device": "cuda", "threads": 1},
    **{"device_name": "NVIDIA H200", "pytorch_version": "2.13.0", "cuda_version": "13.0"},
    **{"copy_gb_s": 4.0, "read_gb_s": 5.0, "gemm_gflop_s": 50.0},
}
VERSIONS = ["v0", "v1", "v2", "v3", "v4"]


def cell_of(version, phase="decode"):
    return cell(CONFIG, "roofline", "custom", version, batch=1, phase=phase, P=20)


def profile_of(wanted, flop_ratio=1.0, bytes_ratio=1.0):
    """What an export could say of a cell: the model's FLOP and bytes, a little off."""
    cost = roofline_counted.cell_cost(wanted)
    flop, dram = round(cost.flop * flop_ratio), round(cost.bytes * bytes_ratio)
    kernel = {"name": "void ns::gemv<float, 4>(int)", "launches": 3, "time_ns": 60_000}
    totals = {"core_flop": flop, "tensor_flop": 0, "dram_bytes": dram, "time_ns": 80_000}
    return {
        **totals,
        **{"l2_bytes": 2 * dram, "l1_bytes": 3 * dram, "ncu_version": "2025.3.0", "notes": []},
        "kernels": [
            kernel | {"dram_bytes": dram // 2, "flop": flop},
            kernel | {"name": "copy_kernel", "time_ns": 20_000, "dram_bytes": 512_000, "flop": 0},
        ],
    }


def placed(version, phase="decode", **off):
    wanted = cell_of(version, phase)
    return roofline_counted.run(wanted, profile_of(wanted, **off), ROOFS, "csv")


def made_up(**changes):
    base = {"flop": 1e9, "bytes": 1e9, "time_ms_median": 250.0, "runs": [{"wall_ms": 260.0}]}
    return base | changes


def test_a_point_under_the_bandwidth_roof():
    at = point(made_up(), ROOFS)
    assert (at.intensity, at.gflop_s, at.gb_s) == (1, 4, 4)
    assert at.attainable_gflop_s == 5 and at.share == pytest.approx(0.8) and at.bound == "memory"


def test_the_bound_is_a_word_for_what_holds_the_phase():
    assert point(made_up(flop=1e11, time_ms_median=2500.0), ROOFS).bound == "compute"
    assert point(made_up(wall_ms_median=400.0), ROOFS).bound == "latency"  # kernels leave gaps
    assert point(made_up(time_ms_median=9000.0, runs=[]), ROOFS).bound == "latency"  # far from both


def test_counters_join_the_model_s_numbers_and_a_doubtful_ratio_is_marked():
    good, odd = placed("v1"), placed("v2", bytes_ratio=1.5)
    assert point(good, ROOFS).counted and point(good, ROOFS).time_ms == 0.08
    assert ratios(odd) == {"flop": pytest.approx(1), "bytes": pytest.approx(1.5, rel=1e-3)}
    assert plausible(1.29) and not plausible(1.31) and not plausible(0.89)
    rows = tables.table([good, odd, ROOFS], "roofline").rows
    assert [row["bytes_doubt"] for row in rows] == ["", "outside 0.9-1.3"]
    assert {"roof_percent", "bound", "source", "bytes_modelled"} <= rows[0].keys()


@pytest.mark.parametrize(
    "lacking, flop_is, bytes_is, drawn",
    [
        ("tensor_flop", "modelled", "counted", "bytes are counted and FLOP modelled"),
        ("dram_bytes", "counted", "modelled", "FLOP are counted and bytes modelled"),
        (None, "counted", "counted", "filled points are counted"),
    ],
)
def test_each_number_of_an_export_says_whether_it_was_counted(lacking, flop_is, bytes_is, drawn):
    record = placed("v1", flop_ratio=1.1, bytes_ratio=1.2)
    if lacking:
        record["counted"][lacking] = None
    row = roofline_table.row({**record, "roofs": ROOFS})
    assert (row["gflop_is"], row["mb_is"]) == (flop_is, bytes_is)
    for key, kind, unit, of in (("flop", flop_is, 1e9, "gflop"), ("bytes", bytes_is, 1e6, "mb")):
        off = {"flop": 1.1, "bytes": 1.2}[key] if kind == "counted" else 1
        assert row[of] == pytest.approx(off * record[key] / unit, rel=1e-3)
    assert (ratios(record) or {}).keys() == {
        key for key, kind in (("flop", flop_is), ("bytes", bytes_is)) if kind == "counted"
    }
    figure = roofline.draw([record, record | {"version": "v2"}, ROOFS])
    assert any(drawn in text.get_text() for text in figure.findobj(Text))
    plt.close(figure)


def test_a_profile_below_its_weights_is_doubted():
    assert any("weights" in note for note in placed("v1", bytes_ratio=0.5)["counted"]["notes"])


def test_the_share_of_tensor_cores_and_packed_fp16_stand_apart():
    record = placed("v1")
    record["counted"] |= {"tensor_flop": 3_000, "core_flop": 1_500}
    record["counted"]["core_flop_by"] = {"fp32": 1_000, "fp16": 500}
    at = point(record, ROOFS)
    assert (at.flop, at.tensor) == (4_000, 0.75)  # bfloat16: packed fp16 is not the model's work
    row = roofline_table.row({**record, "roofs": ROOFS})
    assert (row["tensor_percent"], row["packed_fp16_gflop"]) == (75, 5e-7)
    record["counted"]["core_flop_by"] = {"fp32": 1_500}  # not asked for
    assert roofline_table.row({**record, "roofs": ROOFS})["packed_fp16_gflop"] is None


def test_a_study_of_one_phase_draws_that_phase_alone(tmp_path):
    def drawn(records):
        style.save(roofline.draw([*records, ROOFS]), tmp_path / "f.svg")
        return (tmp_path / "f.svg").read_text()

    alone = drawn([placed("v1")])
    assert "decode with a cache" in alone and "prefill" not in alone
    lost = cell_of("v1", "prefill").failure("out of memory", "")
    assert "v1 prefill: out of memory" in drawn([placed("v1"), lost])


def test_a_kernel_s_name_is_what_tells_it_from_others():
    for name, plain in (
        ("void ns::gemv<float, 4>(int)", "gemv"),
        ("void at::<unnamed>::vectorized_layer_norm<float>(int)", "vectorized_layer_norm"),
        ("void at::native::(anonymous namespace)::softmax_warp<4>(int)", "softmax_warp"),
        ("<unnamed>", "<unnamed>"),
    ):
        assert short(name) == plain


def test_a_point_above_its_roof_is_an_error():
    fast = made_up(time_ms_median=150.0)
    assert point(fast, ROOFS).impossible and not point(made_up(), ROOFS).impossible
    record = placed("v1")
    record["counted"]["time_ns"] = 10
    assert roofline_table.row({**record, "roofs": ROOFS})["error"] == "above its roof"


def test_an_arrow_is_one_optimisation():
    steps = predecessors([cell_of(version).header() for version in VERSIONS])
    assert steps == {"v1": "v0", "v2": "v1", "v3": "v1", "v4": "v2"}


def test_the_figure_names_roofs_shares_changes_and_kernels(tmp_path):
    roofs = datasheet.with_datasheet(ROOFS)
    cells = [placed(v, phase) for v in VERSIONS for phase in ("prefill", "decode")]
    for name in ("one.svg", "two.svg"):
        style.save(roofline.draw([*cells, roofs]), tmp_path / name)
    svg = (tmp_path / "one.svg").read_text()
    for words in (
        *("memory read 5 GB/s, measured", "memory 4.8 TB/s, datasheet", "ridge 10 FLOP/byte"),
        *(
            "of its roof",
            "against v1: bytes",
            "time ±0 %",
            "counted by the device",
            "gemv",
            "no FLOP:",
        ),
        *("512 kB", "ncu 2025.3.0", "CUDA 13.0", "softmax"),
    ):
        assert words in svg, words
    assert svg == (tmp_path / "two.svg").read_text()


def test_a_datasheet_is_of_the_whole_name_and_the_dtype():
    assert datasheet.with_datasheet(ROOFS)["datasheet"]["gflop_s"] == 989000
    assert datasheet.with_datasheet(ROOFS | {"dtype": "float32"})["datasheet"]["gflop_s"] is None
    other = ROOFS | {"device_name": "NVIDIA GeForce RTX 4090 Laptop GPU"}
    assert datasheet.with_datasheet(other)["datasheet"] is None


def test_sources_are_settled_and_checked_before_any_job(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(runner, "FOLDERS", ())
    assert roofline_source(CONFIG) == "model"
    for setting, line in (
        ({"source": "csv", "csv_dir": str(tmp_path)}, "roofs.json"),
        ({"source": "ncu"}, "no ncu on PATH"),
        ({"csv_dir": str(tmp_path)}, "roofline.source csv only"),
    ):
        with pytest.raises(ConfigError, match=line):
            resolve(STUDY | {"roofline": {"P": 20, **setting}}, load_schema())
    (tmp_path / "roofs.json").write_text(json.dumps(ROOFS))
    setting = {"P": 20, "source": "csv", "csv_dir": str(tmp_path)}
    with pytest.raises(ConfigError, match="which lacks .*_P20.csv"):
        resolve(STUDY | {"roofline": setting}, load_schema())
    for preset, version, phase in product(
        CONFIG["pretrained"], CONFIG["versions"], CONFIG["roofline"]["phases"]
    ):
        (tmp_path / f"{preset}_{version}_{phase}_B1_P20.csv").touch()
    assert roofline_source(resolve(STUDY | {"roofline": setting}, load_schema())) == "csv"


SASS = "smsp__sass_thread_inst_executed_op_{}_pred_on"
NAMES = ["gpu__time_duration", "dram__bytes", "lts__t_bytes", "l1tex__t_bytes"]
NAMES += [SASS.format(op) for op in ("fadd", "fmul", "ffma")]
NAMES += ["sm__ops_path_tensor_src_bf16_dst_fp32", "sm__ops_path_tensor_src_fp16"]
OTHERS = ["sm__ops_path_tensor_src_tf32_dst_fp32", "sm__ops_path_tensor_src_int8"]
OTHERS += [SASS.format(f"{family}{op}") for family in "dh" for op in ("add", "mul", "fma")]
LEAF = "sm__ops_path_tensor_op_hmma_src_bf16_dst_fp32_sparsity_off"

FAKE = """#!{python}
import json, pathlib, subprocess, sys
a, here = sys.argv[1:], pathlib.Path({here!r})
mode = (here / "mode").read_text()
names = {names!r}
if a == ["--version"]:
    print("NVIDIA (R) Nsight Compute Command Line Profiler\\nVersion 2025.3.0.0 (build 1)")
elif "--query-metrics" in a:
    print("Device NVIDIA H200 (GH100)")
    print("\\n".join(f"{{n:60}} bytes  # a counter" for n in names))
elif "--import" in a:
    columns = ["ID", "Process ID", "Kernel Name", *[n + ".sum" for n in names]]
    units = ["", "", "", "ns", *["byte"] * 3, *[""] * (len(names) - 4)]
    time = "nan" if mode == "2" else "1000"
    row = ["0", "7", "gemm", time, "10", "20", "30", "0", "0", "0", mode, "0"]
    row += ["0"] * (len(columns) - len(row))
    for line, passes in ((columns, "profiler__replayer_passes"), (units, "pass"), (row, "3")):
        line.append(passes)
    text = "".join(",".join(f'"{{v}}"' for v in r) + "\\n" for r in (columns, units, row))
    pathlib.Path(a[a.index("--log-file") + 1]).write_text(text)
elif mode.isdigit():
    pathlib.Path(a[a.index("--export") + 1]).write_text("report")
    print("==PROF== Connected to process 7")
    print('==PROF== Profiling "gemm": Application replay pass 12')
elif mode == "silence":
    print("==PROF== Connected to process 7\\n==PROF== Disconnected from process 7")
else:
    print("==ERROR== " + mode)
"""


@pytest.fixture
def ncu(tmp_path, monkeypatch):
    """A stand-in for ncu on PATH whose device says what the test wants."""
    path = tmp_path / "bin" / "ncu"
    path.parent.mkdir()
    path.write_text(FAKE.format(python=sys.executable, here=str(tmp_path), names=[*NAMES, LEAF]))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent))

    def says(mode):
        (tmp_path / "mode").write_text(mode)
        return str(path)

    return says


PROGRAM = [sys.executable, "-c", "print('{\"flop\": 1000}')"]


def test_ncu_is_found_asked_for_counters_and_calibrated(ncu, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "check_permission", lambda: None)
    assert runner.find() == ncu("1000")
    found = runner.calibrate(runner.need(), PROGRAM, tmp_path / "out")
    assert found["ratio"] == 1 and found["flop_per_tensor_inst"] is None
    assert f"{NAMES[-2]}.sum" in found["metrics"]
    assert f"{LEAF}.sum" not in found["metrics"]  # its aggregate holds it already
    assert parse(tmp_path / "out/calibrate.csv")["dram_bytes"] == 10


def test_counters_that_miscount_a_known_product_are_refused(ncu, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "check_permission", lambda: None)
    with pytest.raises(NcuError, match=r"counts as 2 times"):
        runner.calibrate(ncu("2000"), PROGRAM, tmp_path / "out")


@pytest.mark.parametrize(
    "said,line",
    [
        ("ERR_NVGPUCTRPERM", "NVreg_RestrictProfilingToAdminUsers=0"),
        ("No kernels were profiled.", "no kernels were profiled"),
        ("LaunchFailed", "run it without ncu"),
        ("LibraryNotLoaded", "driver's library"),
        ("silence", "ncu connected, but no kernels were profiled"),
        ("something else", "wrote no report; it said last: ==ERROR== something else"),
    ],
)
def test_a_failed_profile_is_one_line_and_leaves_nothing(ncu, tmp_path, said, line):
    out = tmp_path / "out"
    with pytest.raises(NcuError, match=line):
        runner.profile(ncu(said), ["a.sum"], PROGRAM, out / "p.ncu-rep")
    assert list(out.iterdir()) == []


def test_a_profile_says_what_it_ran_with(ncu, tmp_path):
    out = tmp_path / "out"
    cell_of = runner.profile(ncu("1000"), ["a.sum", "b.sum"], PROGRAM, out / "p.ncu-rep")
    assert cell_of["flop"] == 1000
    with_ = cell_of["ncu"]
    assert (with_["version"], with_["passes"]) == ("2025.3.0.0", 3)  # of the raw page
    assert with_["command"][-3:] == [Path(sys.executable).name, *PROGRAM[1:]]
    assert with_["clocks_before"] is None  # no nvidia-smi on this PATH
    assert "a.sum,b.sum" in with_["command"] and "--clock-control" in with_["command"]
    at = with_["command"].index("--target-processes")
    assert with_["command"][at + 1] == "application-only"  # not nvidia-smi, git or a compiler


def test_one_command_calibrates_profiles_exports_and_adds_up(ncu, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "check_permission", lambda: None)
    seen = tmp_path / "seen"
    script = f"""import sys; open({str(seen)!r}, "a").write(" ".join(sys.argv[1:]) + chr(10))
print('{{"flop": 1000, "wall_ms_median": 2.0}}')"""
    monkeypatch.setattr(command, "PROGRAM", tmp_path / "program.py")
    command.PROGRAM.write_text(script)
    ncu("1000")
    asked = ["profile", "--out", str(tmp_path / "out"), "--P", "20", "--version"]
    assert main([*asked, "v2_decode", "--threads", "2"]) == 0
    cell_of = json.loads(capsys.readouterr().out)
    assert cell_of["dram_bytes"] == 10 and cell_of["tensor_flop"] == 1000 and not cell_of["missing"]
    names = [Path(name).name for name in cell_of["files"]]
    assert names == [f"gpt2_v2_decode_B1_P20.{end}" for end in ("ncu-rep", "csv", "run.json")]
    assert all(Path(name).exists() for name in cell_of["files"])
    assert json.loads(Path(cell_of["files"][2]).read_text())["ncu"]["passes"] == 3
    assert main([*asked, "v1_decode"]) == 0  # calibrated already
    phase = "--version {} --P 20 --model gpt2 --batch 1 --dtype bfloat16{}"
    calibrate = "--version calibrate --dtype bfloat16"
    expected = [calibrate, phase.format("v2_decode", " --threads 2"), phase.format("v1_decode", "")]
    assert seen.read_text().splitlines() == expected
    assert main([*asked, "v1_decode", "--dtype", "float16"]) == 0
    assert seen.read_text().splitlines()[3] == "--version calibrate --dtype float16"


@pytest.mark.parametrize(
    "options,line",
    [
        (["--version", "v99_decode"], "invalid choice: 'v99_decode'"),
        (["--version", "v1_decode", "--model", "gpt5"], "invalid choice: 'gpt5'"),
        (["--version", "v1_decode", "--P", "long"], "invalid int value: 'long'"),
        (["--P", "3"], "required: --version"),
    ],
)
def test_a_profile_that_was_asked_for_wrongly_says_what_is_allowed(options, line, capsys):
    with pytest.raises(SystemExit):
        main(["profile", *options])
    assert line in capsys.readouterr().err


def test_a_profile_that_cannot_be_made_is_one_line(ncu, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "check_permission", lambda: None)
    asked = ["profile", "--out", str(tmp_path), "--version", "v1_decode"]
    (tmp_path / "calibration.json").write_text("{")
    assert main(asked) == 1
    assert "calibration.json is not JSON" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(runner, "FOLDERS", ())
    assert main(asked) == 1
    error = capsys.readouterr().err
    assert error.startswith("kvbench.ncu profile: no ncu on PATH") and error.count("\n") == 1


def test_an_export_with_a_kernel_that_failed_is_refused(ncu, tmp_path):
    (tmp_path / "p.ncu-rep").write_text("report")
    with pytest.raises(NcuError, match="the export has no time_ns of every kernel"):
        runner.export(ncu("2"), tmp_path / "p.ncu-rep", tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()


def test_a_program_that_fails_by_itself_is_distinguished_from_one_that_ncu_breaks(ncu, tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no such device')"]
    with pytest.raises(NcuError, match="fails without ncu already: no such device"):
        runner.profile(ncu("1000"), ["a.sum"], command, tmp_path / "out" / "p.ncu-rep")


def test_without_ncu_or_permission_the_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(runner, "FOLDERS", ())
    with pytest.raises(NcuError, match="install Nsight Compute"):
        runner.need()
    (tmp_path / "params").write_text("RmProfilingAdminOnly: 1\n")
    runner.check_permission(tmp_path / "params", uid=0)
    with pytest.raises(NcuError, match="as root"):
        runner.check_permission(tmp_path / "params", uid=1000)


def test_a_missing_family_is_refused_by_name():
    with pytest.raises(NcuError, match="l2_bytes"):
        runner.choose(set(NAMES) - {"lts__t_bytes"})
    with pytest.raises(NcuError, match="tensor"):
        runner.choose({name for name in NAMES if "tensor" not in name})


@pytest.mark.parametrize(
    "dtype,source,families",
    [
        ("bfloat16", "bf16_dst_fp32", "f"),
        ("float16", "fp16", "fh"),
        ("float32", "tf32_dst_fp32", "f"),
    ],
)
def test_only_the_counters_of_the_study_s_dtype_are_asked_for(dtype, source, families):
    asked = runner.choose({*NAMES, *OTHERS, LEAF}, dtype)
    assert [name for name in asked if "tensor" in name] == [f"sm__ops_path_tensor_src_{source}.sum"]
    found = {name.split("_op_")[1][0] for name in asked if "sass" in name}
    assert found == set(families) and len(asked) == 5 + 3 * len(families)
    old = {name for name in NAMES if "tensor" not in name}
    inst = "sm__inst_executed_pipe_tensor_op_hmma"  # V100, T4: whatever the dtype
    assert f"{inst}.sum" in runner.choose({*old, inst}, dtype)


def test_the_profiled_program_runs_a_cell_and_a_known_product(tmp_path, capsys):
    path = Path(tmp_path / "cell.json")
    path.write_text(json.dumps(cell_of("v2").replace(device="cpu", dtype="float32").param()))
    program.main(["--cell", str(path)])
    ran = json.loads(capsys.readouterr().out)
    assert (ran["version"], ran["phase"], ran["P"]) == ("v2", "decode", 20)
    (tmp_path / "code.sha256").write_text("0  src/kvbench/__init__.py\n")
    with pytest.raises(UndeclaredCodeError, match=r"loaded kvbench\.\w"):
        program.main(["--cell", str(path), "--code", str(tmp_path / "code.sha256")])
    capsys.readouterr()
    program.main(["--version", "calibrate", "--device", "cpu", "--dtype", "float32"])
    assert json.loads(capsys.readouterr().out)["flop"] == 2 * 256**3
