"""What every script of the workflow does around its one call: its log, its errors. Stdlib only."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvbench.job import isolation
from kvbench.records.provenance import PROJECT, listed

# What torch says of memory that is not there, of more than a process can address, of a size.
TOO_LARGE = ("can't allocate memory", "not enough memory", "storage size calculation overflowed")
PACKAGE = __name__.split(".")[0]
_terminal: int | None = None  # where `tell` writes, inside `logged`


def tell(line: str) -> None:
    """Say one line in the log and, from a job of the workflow, on the terminal."""
    print(line, file=sys.stderr, flush=True)
    if _terminal is not None:
        os.write(_terminal, f"{line}\n".encode())


def import_from(src: Path) -> None:
    """Have every Python process started from here look for modules in `src` first."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(src), *([before] if before else [])])


class UndeclaredCodeError(RuntimeError):
    """A job that has loaded a module whose edit would not run it again; in one line."""


def check_declared(code: str | Path) -> None:
    """Raise UndeclaredCodeError where this process has loaded a file of the package not in `code`.

    `code` is the listing of the job's rule.
    """
    declared = {(PROJECT / file).resolve() for file in listed([code])}
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.split(".")[0] == PACKAGE and file and Path(file).resolve() not in declared:
            raise UndeclaredCodeError(
                f"this job has loaded {name}, which its rule does not declare, so that an edit of "
                f"it would re-run nothing: name the module in the rule's `code` input ({code})"
            )


@contextmanager
def logged(path: str, code: str | Path) -> Iterator[None]:
    """Send this process's output, of libraries too, to `path`; say a failure on the terminal.

    `code` is the listing of the job's code, which at the end must hold every module loaded.
    A failure keeps its traceback in the log and ends the job with exit code 1.
    """
    global _terminal
    gc.set_threshold(500_000)  # torch's import makes half as many objects, all there to stay
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    _terminal = os.dup(2)
    with open(path, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        isolation.check_left()
        yield
        check_declared(code)
        gc.freeze()  # or the interpreter looks through all of torch once more before it ends
    except Exception as error:
        traceback.print_exc()
        os.write(_terminal, f"{isolation.in_one_line(error)} (log: {path})\n".encode())
        sys.stderr.flush()
        os._exit(1)  # the traceback is in the log once; Snakemake's own would repeat it
    except KeyboardInterrupt:
        tell(f"interrupted: run again to go on (log: {path})")
        os._exit(130)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the host or the device ran out of memory."""
    words = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(said in words for said in TOO_LARGE)
    )
