"""What every measuring job does around its benchmark: device, out of memory, one record. No torch.

A timed process writes its sample; where no other process is pooled with it, the whole cell.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from kvbench.cell import Cell
from kvbench.files.placeholder import NotMeasuredError
from kvbench.job import partners
from kvbench.job.devices import one_device
from kvbench.job.log import is_out_of_memory, logged
from kvbench.records.provenance import stamp
from kvbench.records.record import Record
from kvbench.records.store import write_record

# By name: samples do not depend on it, so that an edit of it re-runs none of them.
POOLING = "kvbench.analysis.pool"


def measure(job: Any) -> None:
    """Measure the cell of Snakemake's `job` with the benchmark it names, and write the record.

    The job's inputs, but for its code, are the files that the benchmark's `run` takes by name, as
    `one_path` gives them. A job with the resource `place` is timed in several processes, and
    measures the partners that the run asks of it (`kvbench.job.partners`).
    """
    with logged(job.log[0], job.input.code):
        cell = Cell.of(job.params.cell)
        place = job.resources.get("place")
        with one_device(job.config, timed=cell.timed):
            asked = partners.asked(job.output[0]) if place is not None else []
            # Who goes first changes from round to round.
            early = int(job.wildcards.get("replicate", 1)) % 2 == 0
            others = partners.measure(asked) if early else []
            bench = import_module(f"kvbench.bench.{cell.benchmark}")  # torch sees that device alone
            files = {name: one_path(paths) for name, paths in job.input.items() if name != "code"}
            record = out_of_memory_is_a_result(bench.run, cell, **files)
            if place is not None:
                record = numbered(record, job.wildcards, place)
            record = stamp(record, job.params.cell, job.input)
            if others := others if early else partners.measure(asked):
                record["partners"] = others
            if place is not None and not job.wildcards.get("replicate"):
                record = import_module(POOLING).pool([record])
            write_record(job.output[0], record)


def one_path(paths: Any) -> str | None:
    """The file of an input, the directory of several that lie in one, or None for no file."""
    return str(paths) if isinstance(paths, str) else str(Path(paths[0]).parent) if paths else None


def numbered(record: Record, wildcards: Mapping[str, str], place: int) -> Record:
    """The record with its number among the cell's processes, and its position in the queue."""
    return record | {"replicate": int(wildcards.get("replicate", 1)), "place_in_line": place}


def out_of_memory_is_a_result(
    run: Callable[..., Record], cell: Cell, **files: str | None
) -> Record:
    """`run(cell, **files)`; where memory does not suffice, the cell with `error` in its record.

    Likewise "not measured", where an input could not be had.
    """
    try:
        return run(cell, **files)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.print_exc()
        return cell.failure("out of memory", str(error))
    except NotMeasuredError as error:
        return cell.failure("not measured", str(error))
