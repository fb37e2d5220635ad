"""Locks that a killed run left behind. Standard library only.

Snakemake locks its outputs with plain files, which outlive a `kill -9`: the next run would refuse
to start until told to unlock. Here every run also holds a kernel lock, which dies with its process.
Who gets it exclusively is alone in the folder, so any lock file there is stale.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO


def hold(folder: Path) -> IO[str]:
    """Clear stale Snakemake locks in `folder` (`.snakemake`); keep the result open while running.

    A dry run counts as a run. Files a killed job left half-written are Snakemake's to find
    (`rerun-incomplete`); records are moved into place whole, so none is ever half a result.
    """
    folder.mkdir(exist_ok=True)
    file = (folder / "kvbench.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for stale in (folder / "locks").glob("*.lock"):
            stale.unlink(missing_ok=True)
    except BlockingIOError:
        pass  # another run is alive here, and Snakemake's own locks keep the two apart
    fcntl.flock(file, fcntl.LOCK_SH)
    return file
