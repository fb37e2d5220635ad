"""Whether forked measuring processes differ from one another as much as fresh ones do.

python -m perf.process_variance [PROCESSES]    prints a table; by default of 20 each, eight minutes

A fresh process and a fork of `kvbench.job.fork_server` take turns. Each times the same decode step;
what a kind of process leaves out of the spread would show as a smaller standard deviation.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from scipy.stats import f

from kvbench.job import fork_server

SHAPE = {"n_layer": 6, "n_head": 12, "n_embd": 768, "block_size": 1024, "vocab_size": 8192}
STEPS = 200


def time_steps(path: str) -> None:
    """In a process of its own: the median milliseconds of a step and of a reading."""
    from kvbench.bench.decode import one_run
    from kvbench.bench.roofline import phase_of
    from kvbench.bench.setup import ready
    from kvbench.bench.yardstick import Yardstick
    from kvbench.plan.cells import make
    from kvbench.plan.config import load_schema, resolve

    given: dict[str, Any] = {"pretrained": None, "model_config": SHAPE, "kernel": "torch"}
    given |= {"versions": ["v1"], "decode": {"depths": [256], "steps": 20}}
    config = resolve(given, load_schema())
    cell = make(config, "decode", preset="custom", version="v1", batch="1", depth="256")
    with ready(cell, None) as setup:
        step, read = phase_of(setup, "decode", cell.depth), Yardstick(setup, 20, False)
        one_run(setup, step), read()
        pairs = [(read(), one_run(setup, step)["tpot_ms"]) for _ in range(STEPS // cell.steps)]
    readings, steps = zip(*pairs, strict=True)
    found = {"reading_ms": median(readings), "step_ms": median(steps)}
    Path(path).write_text(json.dumps(found))


def measured(folder: Path, environment: dict[str, str]) -> float:
    """Of one process: the logarithm of its step's time over its reading's."""
    path = folder / "times.json"
    command = [sys.executable, "-m", "perf.process_variance", "--one", str(path)]
    subprocess.run(command, env=environment, check=True)
    found = json.loads(path.read_text())
    return math.log(found["step_ms"] / found["reading_ms"])


def main(arguments: list[str]) -> int:
    """Measure one process (`--one PATH`), or both kinds in turn."""
    parser = argparse.ArgumentParser("python -m perf.process_variance", description=__doc__)
    parser.add_argument("processes", nargs="?", type=int, default=20, help="of each kind")
    parser.add_argument("--one", metavar="PATH", help="measure in this process, and write there")
    asked = parser.parse_args(arguments)
    if asked.one:
        from perf import process_variance  # by its own name, which a fork can import

        fork_server.run(process_variance.time_steps, asked.one)
        return 0
    n = asked.processes
    fresh = dict(os.environ)
    server = fork_server.start()
    environments = {"fresh": fresh, "forked": dict(os.environ)}
    logs: dict[str, list[float]] = {kind: [] for kind in environments}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(n):
            for kind, environment in environments.items():
                logs[kind].append(measured(Path(folder), environment))
    if server is not None and server.stdin is not None:
        server.stdin.close()
    for kind, found in logs.items():
        print(f"{kind:7} {n} processes, standard deviation {100 * stdev(found):.2f} %")
    ratio = stdev(logs["forked"]) / stdev(logs["fresh"])
    low, high = (ratio / math.sqrt(f.ppf(q, n - 1, n - 1)) for q in (0.975, 0.025))
    apart = 100 * math.expm1(fmean(logs["forked"]) - fmean(logs["fresh"]))
    print(
        f"forked / fresh {ratio:.2f} [{low:.2f}, {high:.2f}], 95 % by F; means {apart:+.2f} % apart"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
