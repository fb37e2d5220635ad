"""What goes wrong on real machines, done on purpose: nothing lost, nothing false, one clear line.

The study is a toy whose one benchmark loads no torch; rules, scripts, locks and records are real.
"""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from kvbench.store import read_record
from project import Running, copy, environment, snakemake, toy

STUDY = ("--configfile", "config/toy.yaml")
CELL = "results/toy/vram/custom/v1/B1/T4.json"
TABLE = "results/toy/tables/vram_custom.md"


@pytest.fixture
def folder(tmp_path):
    return toy(tmp_path)


def run(folder, *arguments, **how):
    return snakemake(folder, *(arguments or (CELL,)), *STUDY, **how)


@pytest.fixture
def busy(folder):
    """The machine's one device is in use: a measuring job waits until it is let go."""
    program = (
        "import sys; from kvbench.devices import device_lock\n"
        "with device_lock('cpu'): print('held', flush=True); sys.stdin.read()"
    )
    source = {"PYTHONPATH": str(folder / "src")}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(folder) | source,
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        yield holder.kill
        holder.kill()
