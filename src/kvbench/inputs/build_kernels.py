"""What the workflow compiles: the kernels and the account of memory, or files that say why not."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from kvbench.files import placeholder, write_text
from kvbench.kernels.cpu import build, memory_account
from kvbench.records.store import write_record


def build_or_say_why(
    library: Path, record: Path, meter: Path, isas: Collection[str] = tuple(build.ISAS)
) -> None:
    """The library, beside it how it was built, and the account; without a compiler all say so.

    Cells then run on torch. So they do where a compiler refuses the kernels. It may refuse the
    account alone, which is of torch's headers, and the profiler takes its place.
    """
    try:
        write_record(record, build.build(library, isas=isas))
    except (build.CompilerError, build.BuildError) as error:
        for path in (library, meter):
            write_text(path, f"{placeholder.MARK}{error}\n")
        write_record(record, {"reason": str(error)})
        return
    try:
        memory_account.build(meter)
    except build.BuildError as error:
        write_text(meter, f"{placeholder.MARK}{error}\n")
