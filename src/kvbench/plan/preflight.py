"""Is this folder fit for a run: stale locks, dates, permission to write. Standard library only.

Snakemake locks its outputs with plain files, which outlive a `kill -9`: the next run would refuse
to start until `--unlock`. Here every run also holds a kernel lock, which dies with its process.
Who gets it exclusively is alone in the folder, so any lock file there is stale.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import IO

SKEW_S = 120.0  # clocks of a file server may differ by this much
ROOM_BYTES = 2**23  # for locks, listings and logs


class FolderError(RuntimeError):
    """Why no run can begin here, and the cure, in one line."""


def hold(folder: Path) -> IO[str]:
    """Clear stale Snakemake locks in `folder` (`.snakemake`); keep the result open while running.

    A dry run counts as a run. Files a killed job left half-written are Snakemake's to find
    (`rerun-incomplete`); records are moved into place whole, so none is ever half a result.
    """
    file = (folder / "kvbench.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for stale in (folder / "locks").glob("*.lock"):
            stale.unlink(missing_ok=True)
    except BlockingIOError:
        pass  # another run is alive here, and Snakemake's own locks keep the two apart
    except OSError:
        return file  # a file system without locks: stale ones stay for `snakemake --unlock`
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def check_name(project: Path) -> None:
    """Raise FolderError for a project in a folder whose name Snakemake would read as a wildcard."""
    if set("{}") & set(str(project)):
        raise FolderError(f"{project} has a brace in its path, a wildcard to Snakemake: rename it")


def check_room(folder: Path) -> None:
    """Raise FolderError where Snakemake could not keep its own files, dry runs included."""
    try:
        folder.mkdir(exist_ok=True)
        room = os.statvfs(folder)
    except OSError as error:
        raise FolderError(f"{folder} cannot be made here: {error.strerror}") from None
    if room.f_bavail * room.f_frsize < ROOM_BYTES or room.f_files and not room.f_favail:
        raise FolderError(f"{folder} is on a full disk: Snakemake keeps its locks and logs there")
    if not os.access(folder, os.W_OK):
        raise FolderError(f"{folder} is read-only: Snakemake keeps its locks and logs there")


def check_dates(folders: Iterable[str]) -> None:
    """Raise FolderError for a file dated in the future: the clock was set back after it was made.

    Against such an output no edit looks newer, so that a stale result would be taken as current.
    """
    latest = time.time() + SKEW_S
    for folder in folders:
        for path, _, names in os.walk(folder):
            for name in names:
                file = os.path.join(path, name)
                made = os.lstat(file).st_mtime
                if made > latest:
                    when = datetime.fromtimestamp(made).isoformat(" ", "seconds")
                    raise FolderError(
                        f"{file} is dated {when}, which has not come yet: set the clock right, or, "
                        "if it is right now, delete what was made under the wrong one: "
                        f"find {folder} -type f -newermt now -delete"
                    )


def check_writable(folder: str | Path) -> None:
    """Raise FolderError where results cannot be written; a folder not made yet is judged above."""
    place = Path(folder)
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        raise FolderError(
            f"{place} is read-only: a run writes its results there; make it writable, or run in a "
            "copy of the project"
        )
