"""Bring together the shards of one study that several machines measured. Standard library only.

    python -m kvbench.records.merge results/default ../other/results/default ...

Copies into the first folder what the others have and it lacks. Nothing is copied unless everything
fits: whole records, one device and environment, one code and one set of weights for each benchmark.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kvbench.files import replacing
from kvbench.records.store import RecordError, read_record

MADE_HERE = ("figures", "tables", "verdicts", "against")  # of these cells, or of other code
# Part of a record's provenance -> the keys within whose every value the part has to be the same.
MUST_AGREE: dict[str, tuple[str, ...]] = {
    "environment": (),
    "device": (),
    "weights": ("pretrained", "benchmark_name"),
    "code": ("benchmark_name", "version"),
}


class ShardError(ValueError):
    """Shards that do not belong together, naming two files, in one line."""


def shard_files(study: Path) -> Iterator[Path]:
    """The records of one study's folder, samples first, as paths within it."""
    found = [path.relative_to(study) for path in study.rglob("*.json")]
    kept = [path for path in found if path.parts[0] not in MADE_HERE]
    yield from sorted(kept, key=lambda path: (path.parts[0] != "samples", path))


def merge(into: Path, others: Iterable[Path]) -> list[Path]:
    """Copy every record that `into` lacks; returns the paths. Raises ShardError, copying none.

    A record in two shards has to be the same file: one cell measured twice is two results.
    """
    seen: dict[tuple[Any, ...], tuple[Any, Path]] = {}
    have = {path: into / path for path in shard_files(into)}
    for source in have.values():
        _agree(source, seen)
    wanted: dict[Path, Path] = {}
    for other in others:
        if not other.is_dir():
            raise ShardError(f"{other} is not a folder of results")
        for path in shard_files(other):
            first = have.get(path) or wanted.get(path)
            if first is None:
                _agree(other / path, seen)
                wanted[path] = other / path
            elif first.read_bytes() != (other / path).read_bytes():
                raise ShardError(
                    f"{first} and {other / path} are two results of one cell; delete one"
                )
    for path, source in sorted(wanted.items(), key=lambda item: item[0].parts[0] != "samples"):
        with replacing(into / path) as temporary:
            shutil.copyfile(source, temporary)  # dated now: newer than the code it was made by
    return list(wanted)


def _agree(path: Path, seen: dict[tuple[Any, ...], tuple[Any, Path]]) -> None:
    """Check one record against those before it. Raises ShardError."""
    try:
        record = read_record(path)
    except RecordError as error:
        raise ShardError(str(error)) from None
    for part, within in MUST_AGREE.items():
        value = record.get("provenance", {}).get(part)
        if value is None:
            continue
        scope = (part, *(json.dumps(record.get(key)) for key in within))
        before, first = seen.setdefault(scope, (value, path))
        if before != value:
            what = f"{part} ({_words_of(first, part)} and {_words_of(path, part)})"
            raise ShardError(
                f"{first} and {path} differ in {what}: they are not shards of one study"
            )


def _words_of(path: Path, part: str) -> str:
    """A record's device or environment in words, its digest for other parts."""
    record = read_record(path)
    keys = {"device": ("device_name",), "environment": ("python_version", "pytorch_version")}
    words = [str(record.get(key)) for key in keys.get(part, ())]
    return " ".join(words) or record["provenance"][part]


def main() -> None:
    """The command line. Exits with one line where shards do not belong together."""
    parser = argparse.ArgumentParser(description="Merge the shards of one study.")
    parser.add_argument("into", type=Path, help="the study's folder here, results/{study}")
    parser.add_argument("others", type=Path, nargs="+", help="the same folder of other machines")
    given = parser.parse_args()
    try:
        merged = merge(given.into, given.others)
    except ShardError as error:
        parser.exit(1, f"{error}\n")
    print(f"{len(merged)} records merged into {given.into}")


if __name__ == "__main__":
    main()
