"""Measuring beside a sample what it is compared with: of cells that the run leaves as they are.

A version that is measured again alone shares no round with the cells it is compared with. So a run
asks its sample to measure them beside itself, each in a fresh process; the record keeps these under
`beside`, and the cells' own files stay. A request is a file of this run's, at the sample's path
under REQUESTS: it is no input, so that asking re-runs nothing. Standard library only.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kvbench.cell import Cell
from kvbench.files import write_text
from kvbench.job.log import check_declared, tell
from kvbench.records.provenance import stamp
from kvbench.records.record import Record

REQUESTS = Path(".snakemake/beside")
KEPT = ("version", "runs", "yardstick_ms", "machine_state")

Request = dict[str, Any]  # a job's `cell` as plain data, and its `inputs` by name, code included


def write(output: str, requests: Iterable[Request]) -> None:
    """Ask the sample at `output` for these cells."""
    path = REQUESTS / output
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(list(requests)))


def asked(output: str) -> list[Request]:
    """What this run asks of the sample at `output`."""
    path = REQUESTS / output
    requests: list[Request] = json.loads(path.read_text()) if path.exists() else []
    return requests


def measure(requests: Iterable[Request]) -> list[Record]:
    """A process of each cell: `version`, `key` of its provenance, runs and what goes with them.

    One that fails is told and left out: the sample itself is none the worse for it.
    """
    return [found for request in requests for found in _in_a_process(request)]


def _in_a_process(request: Request) -> Iterator[Record]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "request.json")
        path.write_text(json.dumps(request))
        done = subprocess.run([sys.executable, "-m", __name__, str(path)])
        failed: Record = {"error": "failed"}
        record: Record = json.loads(path.read_text()) if done.returncode == 0 else failed
    if "error" in record:
        tell(f"{request['cell']['version']} was not measured beside: {record['error']} (see log)")
        return
    kept = {key: record[key] for key in KEPT if key in record}
    yield {"key": record["provenance"]["key"], **kept}


def measure_here(cell: Mapping[str, Any], inputs: Mapping[str, Any]) -> Record:
    """The record of one cell, measured in this process under the lock that its parent holds."""
    whole = Cell.of(dict(cell))
    bench = import_module(f"kvbench.bench.{whole.benchmark}")
    files = {name: path or None for name, path in inputs.items() if name != "code"}
    record = stamp(bench.run(whole, **files), dict(cell), inputs)
    check_declared(inputs["code"])
    return record


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(json.dumps(measure_here(**json.loads(file.read_text()))))
