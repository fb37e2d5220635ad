"""Copies of the project for tests that run Snakemake on them."""

import json
import math
import os
import signal
import struct
import subprocess
import sys
import time

import forked

from perf.copied import ROOT as ROOT
from perf.copied import copy

TOY = """
pretrained: null
model_config: {n_layer: 1, n_head: 2, n_embd: 32, block_size: 64, vocab_size: 128, activation: gelu}
weights: toy.safetensors
benchmarks: [vram]
kernel: torch  # nothing to compile first
process: fresh
versions: [v1]
T_values: [4]
T_star: 4
"""

# Stands in for a benchmark that loads torch: rules, script, lock and record are the real ones.
BENCH = """
import os, sys, time

def run(cell, weights, kernels=None):
    began = time.monotonic()
    time.sleep(0.3)
    while os.path.exists("hold"):
        time.sleep(0.1)
    device = os.environ.get("CUDA_VISIBLE_DEVICES")
    lived = {"began": began, "ended": time.monotonic(), "torch": "torch" in sys.modules}
    return {"version": cell.version, "T": cell.T, "device": device, **lived}
"""


def toy(folder):
    """A copy whose study `toy` has one kind of cell, which takes a third of a second."""
    copy(folder)
    (folder / "config/toy.yaml").write_text(TOY)
    rows = {"wte": [128, 32], "wpe": [64, 32], "h.0.ln_1": [32]}  # as far as planning looks
    write_zeros(folder / "toy.safetensors", {f"{name}.weight": size for name, size in rows.items()})
    (folder / "src/kvbench/bench/vram.py").write_text(BENCH)
    server = folder / "src/kvbench/job/fork_server.py"
    server.write_text(server.read_text().replace(', "numpy", "torch")', ",)", 1))  # seconds of it
    return folder


def write_zeros(path, shapes):
    """A safetensors file of float32 zeros."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def command(*arguments, cores=1, profile=None, brief=False):
    """Snakemake's command line, which says all it has to say unless `brief`."""
    where = ["--profile", profile] if profile else ["--cores", str(cores)]
    whole = [] if brief else ["--quiet", "host"]
    return [sys.executable, "-m", "snakemake", *whole, *where, *arguments]


def environment(folder):
    """Without marks of who runs these tests; the locks of devices are the folder's own."""
    tmp = folder / "tmp"
    tmp.mkdir(exist_ok=True)
    marks = ("SNAKEMAKE", "PYTHONPATH", "CUDA_", "KVBENCH_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(marks)}
    return kept | {"TMPDIR": str(tmp)}


def snakemake(folder, *arguments, check=True, cores=1, brief=False):
    """Run Snakemake there to its end; what it said."""
    words = command(*arguments, cores=cores, brief=brief)[2:]
    done = forked.python(*words, folder=folder, env=environment(folder))
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Running:
    """Snakemake at work in a folder, in a process group of its own; what it says goes to a file."""

    def __init__(self, folder, *arguments, name="said", profile=None):
        self.said = folder / name
        with open(self.said, "w") as file:
            self.process = subprocess.Popen(
                command(*arguments, profile=profile),
                cwd=folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment(folder),
                start_new_session=True,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def wait_for(self, words, seconds=60):
        """Until it has said `words`."""
        until = time.monotonic() + seconds
        while words not in self.said.read_text():
            assert time.monotonic() < until, self.said.read_text()
            time.sleep(0.05)
        return self.said.read_text()

    def end(self, number=None):
        """Send a signal to the whole group, if one is named, and wait; the exit status."""
        if number is not None:
            os.killpg(self.process.pid, number)
        return self.process.wait(240)
