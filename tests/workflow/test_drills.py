"""What goes wrong on real machines, done on purpose: nothing lost, nothing false, one clear line.

The study is a toy whose one benchmark loads no torch; rules, scripts, locks and records are real.
A measuring job is caught at a known place by having its device in use: it waits there.
"""

import contextlib
import fcntl
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from project import Running, command, copy, environment, snakemake, toy

from kvbench.bench.meters import clock
from kvbench.files.foreign import FormatError
from kvbench.inputs.tokens import load_tokens
from kvbench.job.devices import lock_path
from kvbench.models.weights import WeightsError, load, save
from kvbench.records.store import read_record, write_record

STUDY = ("--configfile", "config/toy.yaml")
CELL = "results/toy/vram/custom/v1/B1/T4.json"
WAITING = "waiting for cpu: process 4242 measures on it"


TINY = """
pretrained: null
model_config: {n_layer: 2, n_head: 2, n_embd: 32, block_size: 64, vocab_size: 300}
benchmarks: [vram]
versions: [v1]
kernel: torch
execution: eager
"""


@pytest.fixture
def folder(tmp_path):
    return toy(tmp_path)


@pytest.fixture
def in_use(folder, monkeypatch):
    """The device is in use; closing the result lets it go."""
    monkeypatch.setattr("tempfile.tempdir", environment(folder)["TMPDIR"])
    with open(lock_path("cpu"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        print(4242, file=file, flush=True)
        yield file


def run(folder, *arguments, **how):
    return snakemake(folder, CELL, *STUDY, *arguments, **how)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = toy(tmp_path_factory.mktemp("measured"))
    run(folder)
    return folder


@pytest.fixture
def finished(measured, tmp_path):
    """A folder of its own in which the cell is made."""
    return Path(shutil.copytree(measured, tmp_path / "finished", symlinks=True))


@pytest.fixture(params=["auto"])
def begin(request, folder):
    """Starts a run and waits until its measuring job, in a fork, has come as far as its device."""
    config = folder / "config/toy.yaml"
    config.write_text(config.read_text().replace("process: fresh", f"process: {request.param}"))
    with contextlib.ExitStack() as stack:

        def started(name="said"):
            running = stack.enter_context(Running(folder, CELL, *STUDY, name=name))
            running.wait_for(WAITING)
            return running

        yield started


on_its_own_and_in_a_fork = pytest.mark.parametrize("begin", ["fresh", "auto"], indirect=True)


def jobs(folder):
    """Process ids of the measuring jobs of this folder."""
    said = subprocess.run(["ps", "-ewwo", "pid,args"], capture_output=True, text=True).stdout
    return [int(pid) for pid in re.findall(rf"(\d+) \S+ {folder}/\S+measure.py", said)]


def is_whole(folder):
    return read_record(folder / CELL)["T"] == 4 and "Nothing to be done" in run(folder, "--dry-run")


@on_its_own_and_in_a_fork
def test_kill_9_of_snakemake_leaves_an_orphan_that_the_next_run_waits_for(folder, in_use, begin):
    first = begin()
    first.process.kill()
    first.end()
    assert len(jobs(folder)) == 1, "the orphan"
    second = begin(name="again")
    assert len(jobs(folder)) == 2 and not (folder / CELL).exists()
    in_use.close()
    assert second.end() == 0
    assert is_whole(folder)


@on_its_own_and_in_a_fork
def test_kill_9_of_a_job_is_reported_and_the_next_run_makes_its_cell(folder, in_use, begin):
    running = begin()
    for job in jobs(folder):
        os.kill(job, signal.SIGKILL)
    assert running.end() == 1
    assert "SIGKILL" in running.said.read_text() and not (folder / CELL).exists()
    in_use.close()
    run(folder)
    assert is_whole(folder)


@on_its_own_and_in_a_fork
def test_ctrl_c_ends_jobs_and_run_and_leaves_nothing_in_the_way(folder, in_use, begin):
    running = begin()
    assert running.end(signal.SIGINT) == 1
    said = running.said.read_text()
    assert "interrupted: run again to go on" in said and "KeyboardInterrupt" not in said
    assert not jobs(folder) and not (folder / CELL).exists()
    in_use.close()
    run(folder)
    assert is_whole(folder)


def test_a_second_run_of_the_same_cell_is_refused_and_the_first_goes_on(folder, in_use, begin):
    first = begin()
    assert "Directory cannot be locked" in run(folder, check=False)
    in_use.close()
    assert first.end() == 0
    assert is_whole(folder)


def test_a_job_that_loads_what_its_rule_does_not_declare_fails_by_name(folder):
    module = folder / "src/kvbench/bench/vram.py"
    loads = "import importlib\n\nimportlib.import_module('kvbench.caches.none')\n"
    module.write_text(loads + module.read_text())
    said = run(folder, check=False)
    assert "loaded kvbench.caches.none, which its rule does not declare" in said
    assert not (folder / CELL).exists()


def mounted(folder, mount, *script):
    """Run shell lines on a file system of its own at results/; $RUN makes the cell there."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("needs permission to mount")
    (folder / "results").mkdir()
    lines = "\n".join([f"mount {mount} results || exit 9", *script])
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", lines],
        cwd=folder,
        env=environment(folder) | {"RUN": " ".join(command(CELL, *STUDY))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_full_disk_fails_the_job_and_leaves_no_half_cell(folder):
    said = mounted(
        folder,
        "-t tmpfs -o size=64k none",
        "head -c 100000 /dev/zero > results/filler 2> /dev/null",
        "$RUN && exit 1; find results -name '.*.part' -or -name '*.json' | grep . && exit 2",
        f"rm results/filler; $RUN && cp {CELL} cell.json",
    )
    assert "No space left on device (log: logs/toy/vram/custom/v1/B1/T4.log)" in said
    assert read_record(folder / "cell.json")["T"] == 4


def test_a_file_that_may_not_grow_spares_the_record_that_was_there(tmp_path):
    path = tmp_path / "cell.json"
    write_record(path, {"T": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_record(path, {"T": 2, "samples": list(range(100))})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_record(path)["T"] == 1 and os.listdir(tmp_path) == ["cell.json"]


def test_read_only_results_are_refused_before_any_job_and_still_planned_from(folder):
    said = mounted(folder, "-t tmpfs -o ro none", "$RUN && exit 1; $RUN --dry-run")
    assert "results is read-only: a run writes its results there" in said
    assert "localrule" not in said and "Traceback" not in said


def test_a_truncated_cell_is_named_and_drawn_into_nothing(finished):
    folder = finished
    whole = (folder / CELL).read_bytes()
    (folder / CELL).write_bytes(whole[: len(whole) // 2])
    table = "results/toy/tables/vram_custom.md"
    said = snakemake(folder, table, *STUDY, check=False)
    assert f"{CELL} is not a whole record" in said and f"run again: rm '{CELL}'" in said
    assert not (folder / table).exists()
    (folder / CELL).unlink()
    run(folder)
    assert read_record(folder / CELL)["T"] == 4


def test_a_corrupted_input_is_refused_though_its_shape_is_right(tmp_path):
    path = tmp_path / "weights.safetensors"
    model = torch.nn.Linear(8, 8)
    save(path, dict(model.named_parameters()), source="random")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"weights\.safetensors is corrupted.*delete it"):
        load(model, path)


def test_a_raw_input_with_a_wrong_checksum_is_not_read(folder):
    raw = folder / "resources/raw/gpt2.tiktoken"
    text = folder / "resources/text/mini-wiki.test.txt"
    for path in (raw, text):
        path.parent.mkdir()
        path.write_text("AA== 0\n")
    tokens = "resources/tokens/mini-wiki.test.gpt2.npz"
    said = snakemake(folder, tokens, *STUDY, "--allowed-rules", "tokenize_text", check=False)
    assert "gpt2.tiktoken has sha256" in said and "delete it and run again" in said
    assert not (folder / tokens).exists()


def test_a_missing_weight_file_is_refused_before_any_job(folder):
    (folder / "toy.safetensors").unlink()
    said = run(folder, check=False)
    assert "config key 'weights' is 'toy.safetensors'" in said and "Job stats" not in said


def test_a_clock_set_back_is_refused_before_a_stale_cell_is_taken_as_current(finished):
    folder = finished
    ahead = time.time() + 3600
    os.utime(folder / CELL, (ahead, ahead))
    said = run(folder, check=False)
    assert f"{CELL} is dated" in said and "which has not come yet" in said
    (folder / CELL).unlink()
    run(folder)
    assert read_record(folder / CELL)["T"] == 4


def test_a_clock_that_jumps_while_measuring_changes_no_duration(monkeypatch):
    jumping = iter(range(10**9, 0, -(10**6)))
    monkeypatch.setattr(time, "time", lambda: next(jumping))
    marks = clock.clock("cpu", 3)
    for _ in range(3):
        marks()
    assert all(0 <= ms < 1000 for ms in marks.intervals_ms())


def test_a_damaged_gguf_file_is_not_converted(folder):
    raw = folder / "resources/raw/SmolLM2-135M-Instruct.Q4_1.gguf"
    raw.parent.mkdir()
    raw.write_bytes(b"GGUF" + bytes(64))
    converted = "resources/weights/smollm2/gguf.safetensors"
    said = snakemake(folder, converted, *STUDY, "--allowed-rules", "convert_gguf", check=False)
    assert f"{raw.name} has sha256" in said and "delete it and run again" in said
    assert not (folder / converted).exists()


def test_a_batch_above_memory_is_a_record_that_says_so(tmp_path):
    """Of a study on torch's own operators, weighed by the profiler, in 8 GB of address space."""
    copy(tmp_path)
    (tmp_path / "config/tiny.yaml").write_text(TINY)
    cell = "results/tiny/vram/custom/v1/B8000000/T8.json"
    how = ("--configfile", "config/tiny.yaml", "--config", "batch_size=8000000")
    done = subprocess.run(
        ["bash", "-c", "ulimit -v 8000000; " + " ".join(command(cell, *how))],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = read_record(tmp_path / cell)
    assert record["error"] == "out of memory" and record["T"] == 8


def test_sigterm_lets_the_running_job_end_and_starts_no_other(folder, in_use, begin):
    running = begin()
    running.process.terminate()
    running.wait_for("Will exit after finishing currently running jobs")
    in_use.close()
    running.end()
    assert is_whole(folder)


def test_without_a_compiler_cells_run_on_torch_and_say_why(tmp_path, monkeypatch):
    copy(tmp_path)
    (tmp_path / "config/tiny.yaml").write_text(TINY.replace("kernel: torch", "kernel: auto"))
    monkeypatch.setenv("CXX", "/bin/false")
    cell = "results/tiny/phase/custom/v1/B1/T8.json"
    snakemake(tmp_path, cell, "--configfile", "config/tiny.yaml")
    record = read_record(tmp_path / cell)
    assert (
        record["kernel"] == "torch" and "/bin/false is no C++ compiler" in record["kernel_reason"]
    )
    damaged = tmp_path / "resources/kernels/kvbench.so"
    damaged.write_bytes(b"\x7fELF" + bytes(100))
    (tmp_path / cell).unlink()
    how = ("--configfile", "config/tiny.yaml", "--allowed-rules", "measure_phase")
    assert "kvbench.so" in snakemake(tmp_path, cell, *how, check=False)
    assert not (tmp_path / cell).exists()


def test_damaged_tokens_are_refused_by_name(folder):
    path = folder / "damaged.npz"
    path.write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(FormatError, match=r"damaged\.npz is not a whole token file"):
        load_tokens(path)


def test_a_damaged_text_is_not_tokenised(folder):
    ranks = folder / "resources/tokenizers/smollm2.tiktoken"
    text = folder / "resources/text/mini-wiki.test.txt"
    for path, data in ((ranks, b"YQ== 0\nYg== 1\n"), (text, b"ab\xff")):
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    tokens = "resources/tokens/mini-wiki.test.smollm2.npz"
    said = snakemake(folder, tokens, *STUDY, "--allowed-rules", "tokenize_text", check=False)
    assert "mini-wiki.test.txt is not a whole text in UTF-8" in said
    assert not (folder / tokens).exists()
