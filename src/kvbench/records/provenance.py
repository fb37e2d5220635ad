"""Where a record comes from, as one key: code, settings, weights, data, environment and device.

Two records with one key were measured by the same code with the same settings, on the same weights,
texts, libraries and device: what differs is the machine's noise. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kvbench.files import placeholder
from kvbench.files.foreign import safetensors_header
from kvbench.records.record import Record

PARTS = ("code", "config", "weights", "data", "environment", "device")
ENVIRONMENT = ("python_version", "pytorch_version", "cuda_version", "system", "libraries")
DEVICE = ("device", "device_name", "cpu_name", "cpu_capability", "gpu_total_vram")
PROJECT = Path(__file__).resolve().parents[3]  # this copy of it, wherever a job works
LISTING = ".sha256"  # a file of this suffix lists the code of a job, as `sha256sum` does
DIGITS = 16  # of a sha256, enough that no two parts of one study meet by chance


def stamp(record: Record, param: Record, inputs: Mapping[str, Any]) -> Record:
    """The record with its `provenance`: a digest per part, and the `key` of them all.

    `param` is the job's one param; `inputs` are its input files by name: `code`, `weights`, and
    whatever else it read, its data. A part that a job has none of is None. A record that holds no
    facts of the machine (it ran out of memory) has None for environment and device.
    """
    files = {name: _listed(paths) for name, paths in inputs.items() if paths}
    read = sorted(files.keys() - {"code", "weights"})
    data = [path for name in read for path in files[name]]
    weights = [weights_digest(path) for path in files.get("weights", [])]
    parts = {
        "code": digest_files(listed(files["code"]), PROJECT),  # as they are now, not as listed
        "config": digest(param),
        "weights": digest(weights) if weights else None,
        "data": digest_files(data) if data else None,
        "environment": _facts(record, ENVIRONMENT),
        "device": _facts(record, DEVICE),
    }
    return {**record, "provenance": {"key": digest(parts), **parts}}


def listed(paths: Iterable[str | Path]) -> list[str]:
    """The files themselves, within PROJECT: each listing of `paths` replaced by what it lists."""
    files = []
    for path in map(Path, paths):
        lines = path.read_text().splitlines() if path.suffix == LISTING else []
        files += [line.split("  ", 1)[1] for line in lines] or [str(path)]
    return files


def digest(value: Any) -> str:
    """The digest of plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:DIGITS]


def digest_files(paths: Iterable[str | Path], within: Path | None = None) -> str:
    """The digest of files' contents and, of files `within` a folder, of their names in it.

    Of one that lies elsewhere, an absolute path, the last part of its name counts.
    """
    if within is None:
        return digest([["", _sha256(path)] for path in paths])
    named = [(Path(path).name if Path(path).is_absolute() else str(path), path) for path in paths]
    return digest(sorted([name, _sha256(within / path)] for name, path in named))


def weights_digest(path: str | Path) -> str:
    """The sha256 of a weights file's tensors, which files of this workflow carry in their metadata.

    A file from elsewhere is read whole: half a second per gigabyte, before anything is timed.
    """
    if Path(path).suffix == ".safetensors" and placeholder.reason(path) is None:
        about = safetensors_header(path).about
        if "sha256" in about:
            return str(about["sha256"])
    return _sha256(path)


def _facts(record: Record, keys: tuple[str, ...]) -> str | None:
    return digest({key: record.get(key) for key in keys}) if "device_name" in record else None


def _sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listed(paths: Any) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)
