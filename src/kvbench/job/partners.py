"""Partners of a sample: what it is compared with and the run leaves as it is, measured with it.

A version that is measured again alone shares no round with the cells it is compared with. So a run
asks its sample to measure them too, each in a fresh process; the record keeps these under
`partners`, and the cells' own files stay. A request is a file of this run's, at the sample's path
under REQUESTS: it is no input, so that asking re-runs nothing. Standard library only.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kvbench.cell import Cell
from kvbench.files import write_text
from kvbench.job import fork_server
from kvbench.job.log import check_declared, tell
from kvbench.records.provenance import stamp
from kvbench.records.record import Record

REQUESTS = Path(".snakemake/partners")
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

    One that fails is reported and left out: the sample itself is none the worse for it.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()  # what this process measured leaves the device to the others
    return [found for request in requests for found in _in_a_process(request)]


def _in_a_process(request: Request) -> Iterator[Record]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "request.json")
        path.write_text(json.dumps(request))
        done = subprocess.run([sys.executable, "-m", "kvbench.job.partners", str(path)])
        failed: Record = {"error": "failed"}
        record: Record = json.loads(path.read_text()) if done.returncode == 0 else failed
    if "error" in record:
        tell(f"partner {request['cell']['version']} was not measured: {record['error']} (see log)")
        return
    kept = {key: record[key] for key in KEPT if key in record}
    yield {"key": record["provenance"]["key"], **kept}


def measure_here(path: str) -> None:
    """Put a record in the place of the request at `path`, under the lock that the job holds."""
    request = json.loads(Path(path).read_text())
    cell, inputs = Cell.of(request["cell"]), request["inputs"]
    bench = import_module(f"kvbench.bench.{cell.benchmark}")
    files = {name: path or None for name, path in inputs.items() if name != "code"}
    record = stamp(bench.run(cell, **files), request["cell"], inputs)
    check_declared(inputs["code"])
    Path(path).write_text(json.dumps(record))


if __name__ == "__main__":  # a fork where the job is one, so that both began the same way
    fork_server.die_with_parent()
    fork_server.run(import_module("kvbench.job.partners").measure_here, sys.argv[1])
