"""The lines of `results.jsonl` against the types of records, and these types as documents.

python -m kvbench.records.schema FILE.jsonl    checks every line; names the first that does not fit
python -m kvbench.records.schema --markdown    the keys as tables, for docs/records.md
python -m kvbench.records.schema --json        the types as JSON Schema
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from kvbench.benchmarks import BENCHMARKS, record_name
from kvbench.files import Json
from kvbench.records.benchmark_types import TYPES
from kvbench.records.check import SchemaError, check_record
from kvbench.records.store import SCHEMA_VERSION
from kvbench.records.timed_types import Pooled
from kvbench.records.types import Failed, Measured, Record

# What the project that this one grew out of calls otherwise -> what to read here.
MOVED = {
    "T_star": "`T` of `phase`",
    "n_samples": "the runs in `processes`",
    "time_total_ms_mean": "the mean of `time_total_ms` over the runs in `processes`",
    "time_per_token_ms_std": "`time_total_ms_std` / `T`",
    "n_outliers_removed": "0: no run is ever left out; `disturbed` counts processes to look at",
    "dataset": "`text`",
    "eval_mode": "`modes.teacher_forced` and `modes.cached`, both in one record",
    "num_tokens_evaluated": "`n_tokens`",
    "capacity_T": "`T` of `capacity`",
    "max_batch_size": "`predicted_batch`",
    "peak_memory_gb": "`peak_memory_bytes` of `sides` or of the record, in bytes",
    "peak_memory_bytes": "of `capacity`: in `sides`, for each batch that was tried",
    "per_phase_timing": "benchmark `phase`",
    "max_batch_capacity": "benchmark `capacity`",
}

TITLE = "One line of results.jsonl"
ABOUT = (
    "One cell: what was asked, on which machine, and what was measured. Times are milliseconds, "
    "sizes bytes. Keys that are not named here may be there; a reader ignores those it does not "
    "know."
)


def benchmark_names() -> list[str]:
    """The `benchmark_name` of every benchmark that a study's JSON lines may hold."""
    registered = (record_name(name) for name, line in BENCHMARKS.items() if line.in_all)
    return list(dict.fromkeys([*TYPES, *registered]))


def check_lines(lines: Iterable[str | bytes], name: str) -> int:
    """How many lines there are; SchemaError, naming `name` and the line, for one that fails."""
    count, names = 0, benchmark_names()
    for count, line in enumerate(lines, start=1):
        try:
            record = msgspec.json.decode(line)
        except (ValueError, RecursionError) as error:
            raise SchemaError(f"{name}, line {count}: not JSON in UTF-8 ({error})") from None
        found = check_record(record, f"{name}, line {count}")
        if found.benchmark_name not in names:
            raise SchemaError(
                f"{name}, line {count}, benchmark_name: {found.benchmark_name[:200]!r} is not one "
                f"of {', '.join(names)}"
            )
    return count


def check_file(path: str | Path) -> int:
    """How many records a file of lines holds; SchemaError, naming it, if one fails or none is."""
    with open(path, "rb") as lines:
        count = check_lines(lines, str(path))
    if not count:
        raise SchemaError(f"{path} holds no record")
    return count


def json_schema() -> Json:
    """The JSON Schema of a line, made of the types."""
    kinds = dict.fromkeys([Record, Failed, Measured, *TYPES.values()])
    refs, components = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    ref = dict(zip(kinds, refs, strict=True))
    measured = [
        {"if": {"properties": {"benchmark_name": {"const": name}}}, "then": ref[kind]}
        for name, kind in TYPES.items()
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"kvbench-record-{SCHEMA_VERSION}",
        "title": TITLE,
        "description": ABOUT,
        "properties": {"benchmark_name": {"enum": benchmark_names()}},
        "if": {"required": ["error"]},
        "then": ref[Failed],
        "else": {"allOf": [ref[Measured], *measured]},
        "$defs": components,
    }


def markdown() -> str:
    """Every key with its type and meaning: those of all records, then of each benchmark."""
    parts = [f"# {TITLE}", ABOUT]
    names: dict[type[Measured], list[str]] = {}
    for name, measured in TYPES.items():
        names.setdefault(measured, []).append(name)
    pooled = [name for kind in Pooled.__subclasses__() for name in names[kind]]
    sections: dict[type[Record], str] = {
        Record: "Every record",
        Failed: "A cell without a measurement",
        Measured: "Every measurement",
        Pooled: f"A measurement of several processes: {_named(pooled)}",
        **{kind: _named(its) for kind, its in names.items()},
    }
    listed: set[str] = set()
    for kind, title in sections.items():
        parts += [f"## {title}", _table(kind, listed)]
    parts += [
        "## Keys of other names",
        "The keys above are those of the project that this one grew out of, but for these. Keys of "
        "a GPU, `gpu_name` and `gpu_total_vram`, are null on a CPU.",
        "\n".join(
            [
                "| there | here |",
                "| --- | --- |",
                *(f"| `{old}` | {new} |" for old, new in MOVED.items()),
            ]
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _named(benchmarks: Iterable[str]) -> str:
    return " and ".join(f"`{name}`" for name in benchmarks)


def _table(kind: type[Record], listed: set[str]) -> str:
    """What a type adds to the one it is made of, a key a line; of an object's type once its keys.

    `listed` are the objects' types whose keys are in an earlier table or line.
    """
    defs = msgspec.json.schema_components([kind], ref_template="{name}")[1]
    lines = ["| key | type | meaning |", "| --- | --- | --- |"]
    inherited = getattr(kind.__base__, "__struct_fields__", ())
    for key, rule in defs[kind.__name__]["properties"].items():
        if key in inherited:
            continue
        lines.append(f"| `{key}` | {_type(rule)} | {rule['description']} |")
        inner = rule.get("$ref") or rule.get("items", {}).get("$ref") or ""
        if inner in listed:
            continue
        listed.add(inner)
        lines += [
            f"| `{key}.{name}` | {_type(part)} | {part['description']} |"
            for name, part in defs.get(inner, {}).get("properties", {}).items()
            if "description" in part
        ]
    return "\n".join(lines)


def _type(rule: Json) -> str:
    """The type of a key, in the words of JSON."""
    if "anyOf" in rule:
        return " or ".join(map(_type, rule["anyOf"]))
    if "enum" in rule:
        return ", ".join(f"`{json.dumps(value).strip(chr(34))}`" for value in rule["enum"])
    return str(rule.get("type", "object"))


def main(arguments: list[str]) -> int:
    """Print tables or schema, or check files; 1 where a line does not fit, 2 for no file."""
    if not arguments:
        print("kvbench.records.schema: give a results.jsonl, --markdown or --json", file=sys.stderr)
        return 2
    if arguments == ["--markdown"]:
        print(markdown(), end="")
        return 0
    if arguments == ["--json"]:
        print(json.dumps(json_schema(), indent=1))
        return 0
    try:
        for path in arguments:
            print(f"{path}: {check_file(path)} records")
    except (SchemaError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
