"""The evidence of one GPU rehearsed on a CPU: every step, the limits, the summary's arithmetic."""

import ast
import json
import os
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from kvbench.costs import forward as costs
from kvbench.ncu import runner
from perf.evidence import run, summary
from perf.evidence.groups import SHAPES
from perf.evidence.steps import Step, steps

TESTS = Path(__file__).parents[1]
# What a machine with torch and pytest may lack: no test module imports it at once.
LACKED = {"snakemake", "gguf", "datasets", "mwparserfromhell", "tabulate", "tiktoken"}


COUNTERS = {
    **{"gpu__time_duration": 1000, "dram__bytes": 10, "lts__t_bytes": 20, "l1tex__t_bytes": 30},
    **{f"smsp__sass_thread_inst_executed_op_{op}_pred_on": 0 for op in ("fadd", "fmul", "ffma")},
    "sm__ops_path_tensor_src_bf16_dst_fp32": 2 * 256**3,
}
FAKE = """#!{python}
import pathlib, sys
a, counters = sys.argv[1:], {counters!r}
if a[0] == "--version":
    print("Version 2025.3.0.0 (build 1)")
elif a[0] == "--query-metrics":
    print("\\n".join(counters))
elif a[0] == "--import":
    units = ["", "", "", "ns", *["byte"] * 3, *[""] * (len(counters) - 4)]
    heads = ["ID", "Process ID", "Kernel Name", *[name + ".sum" for name in counters]]
    rows = [heads, units, ["0", "7", "gemm", *map(str, counters.values())]]
    text = "".join(",".join('"' + cell + '"' for cell in row) + "\\n" for row in rows)
    if "--log-file" in a:
        pathlib.Path(a[a.index("--log-file") + 1]).write_text(text)
    else:
        print(text)
else:
    pathlib.Path(a[a.index("--export") + 1]).write_text("report")
    print("==PROF== Connected to process 7")
"""


@pytest.fixture
def ncu(tmp_path, monkeypatch):
    """A stand-in for ncu whose device counts the calibration's product right."""
    path = tmp_path / "bin/ncu"
    path.parent.mkdir()
    path.write_text(FAKE.format(python=sys.executable, counters=COUNTERS))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    assert runner.find() == str(path)


def test_a_rehearsal_runs_its_steps_and_packs_what_they_left(ncu, tmp_path, capsys):
    """One of each kind: the rows left out are walked in test_speed, v2's counters are as v1's."""
    out, left_out = tmp_path / "out", {"gpu-graph", "gpu-bandwidth", "executions-1", "ncu-v2"}
    kinds = [step.name for step in steps(1, small=True) if step.name not in left_out]
    asked = ["--rehearse", "--rounds", "1", "--output", str(out), "--budget", "1800"]
    asked += ["--steps", ",".join(kinds)]
    status = run.main(asked)
    said = capsys.readouterr().out
    assert status == 0, said
    state = json.loads((out / "state.json").read_text())
    assert list(state) == kinds and len(kinds) == 12
    for title in (
        "GPU tests",
        "Decode attention alone",
        "Speed rows",
        "Decode at depth",
        "Formats at depth",
        "Prefill",
        "Launches",
        "Memory",
        "Counters",
    ):
        assert f"## {title}" in said
    assert "Not measured" not in said and "gpu-int8 " in said
    with tarfile.open(out / "evidence.tgz") as tar:
        packed = {name.partition("/")[2] for name in tar.getnames()}
    assert {"facts.json", "gpu-tests.xml", "cells.jsonl", "speed.json", "summary.md"} <= packed
    assert {"launches.json", "logs/tests.log", "ncu/nano_v1_decode_B1_P16.csv"} <= packed
    assert not any(name.endswith(".ncu-rep") for name in packed)
    before = (out / "cells.jsonl").read_text()
    assert run.main(asked) == 0  # done already: nothing is run
    assert (out / "cells.jsonl").read_text() == before


def program(folder, text):
    """A module that a step can run, and the environment in which it is found."""
    (folder / "made_up_step.py").write_text(text)
    return os.environ | {"PYTHONPATH": str(folder)}


def running(pid):
    """Whether a process is there and not yet ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_step_out_of_time_is_ended_with_all_that_it_started(tmp_path):
    (tmp_path / "logs").mkdir()
    child = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '600']); print(p.pid)"
    env = program(tmp_path, f"{child}; sys.stdout.flush(); time.sleep(600)")
    state = run.one(Step("s", 6, "made_up_step", ()), tmp_path, env, float("inf"), False)
    assert (state["status"], state["rc"]) == ("out of time", None)
    pid = int((tmp_path / "logs/s.log").read_text().split()[0])
    until = time.monotonic() + 30
    while running(pid):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert (
        run.one(Step("s", 60, "made_up_step", ()), tmp_path, env, 0.0, True)["status"] == "no time"
    )


def test_a_failed_step_says_its_last_line_and_its_old_cells_are_dropped(tmp_path):
    (tmp_path / "logs").mkdir()
    env = program(tmp_path, "raise SystemExit('no such device')")
    cells = tmp_path / "cells.jsonl"
    cells.write_text('{"step": "s-1"}\n{"step": "s-2"}\n{"step": "s-')  # the last was cut off
    found = run.one(Step("s-1", 60, "made_up_step", ()), tmp_path, env, float("inf"), True)
    assert found["status"] == "failed" and cells.read_text() == '{"step": "s-2"}\n'
    assert run.line("s-1", found, tmp_path).endswith("no such device")


def test_steps_are_chosen_by_pattern(capsys):
    assert run.main(["--steps", "decode-*,facts", "--rounds", "2", "--list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["facts", "decode-1", "decode-2"]
    assert run.main(["--steps", "decod"]) == 2
    assert "no step 'decod'; steps: facts, tests" in capsys.readouterr().err


def wheel(folder, name):
    """A wheel of one empty module."""
    about = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
    }
    files[f"{about}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{about}/RECORD"] = "".join(f"{file},,\n" for file in files)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as packed:
        for file, text in files.items():
            packed.writestr(file, text)


def test_wheels_are_unpacked_for_the_steps_or_refused_in_one_line(tmp_path, capsys):
    site, asked = tmp_path / "site", ["--rehearse", "--wheels", str(tmp_path), "--steps", "facts"]
    assert run.main([*asked, "--output", str(tmp_path / "out")]) == 2
    assert "holds no .whl file" in capsys.readouterr().err
    wheel(tmp_path, "made_up_module")
    found = run.environment(run.parse(asked), str(site))["PYTHONPATH"].split(os.pathsep)
    assert (site / "made_up_module.py").exists() and str(site) in found
    (tmp_path / "broken-1.0-py3-none-any.whl").write_text("no archive")
    assert run.main([*asked, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("pip cannot install the wheels of") and said.count("\n") == 1


SHAPE = {"arch": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 64, "block_size": 96}
SHAPE |= {"vocab_size": 101}


def decode_record(version, ms):
    row = {"v1": 128, "v2": 72}[version]  # of K and V: bf16, or codes with scales
    return {
        **{"model_config": SHAPE, "layer_owner": [0, 1], "dtype": "bfloat16", "batch_size": 4},
        **{"cache_bytes_per_token": 4 * row, "cache_layout": {"row": row}, "version": version},
        **{"depth": 50, "runs": [{"tpot_ms": ms}]},
    }


def test_shares_and_ratios_are_worked_out_from_records(tmp_path):
    times = {"v1": (0.20, 0.22, 0.18), "v2": (0.10, 0.11, 0.09)}
    lines = [
        {"step": f"decode-{n}", "group": "decode", "name": f"gpt2 {v} graph-triton B 4 depth 50"}
        | {"record": decode_record(v, ms)}
        for v, each in times.items()
        for n, ms in enumerate(each, start=1)
    ]
    (tmp_path / "cells.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    roofs = {"read_gb_s": 10.0, "copy_gb_s": 9.0, "gemm_gflop_s": 1e3, "dtype": "bfloat16"}
    roofs |= {"device_name": "a GPU", "read_by": "torch sum", "commit": None}
    packages = dict.fromkeys(("torch", "triton", "transformers"), "1")
    driver = {"absent": "nvidia-ml-py is not installed"}
    facts = {"roofs": roofs, "packages": packages, "driver_after": driver}
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    v1, v2 = (costs.forward(SHAPE, [0, 1], "bfloat16", 4, 50, 1, row) for row in (64, 36))
    found = summary.summary(tmp_path).split("## Decode at depth")[1].splitlines()
    assert f"share of the floor {v1.bytes / 10e9 / 0.2e-3:.3f}" in found[1]
    assert f"share of the floor {v2.bytes / 10e9 / 0.1e-3:.3f}" in found[2]
    assert f"v1 over it 2 [2, 2] of at most {v1.bytes / v2.bytes:.2f}" in found[2]


def test_the_qwen_shape_has_as_many_parameters_as_the_model():
    """596,049,920 by the model's card's files, less the norms of Q and K (2 x 28 x 128)."""
    shape = SHAPES["qwen3-0.6b"]
    assert sum(costs.n_params(shape, range(28)).values()) == 596_049_920 - 2 * 28 * 128


def test_no_test_module_needs_at_once_what_a_gpu_machine_may_lack():
    for path in TESTS.rglob("test_*.py"):
        body = ast.parse(path.read_text()).body
        names = {
            alias.name for node in body if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {node.module for node in body if isinstance(node, ast.ImportFrom) and node.module}
        assert not {name.partition(".")[0] for name in names} & LACKED, path.name
