"""The schema of a record, of the lines of `results.jsonl`: `record.schema.json`, beside this file.

python -m kvbench.records.schema FILE.jsonl    checks every line; names the first that does not fit
python -m kvbench.records.schema --markdown    the keys as tables, for docs/records.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kvbench.benchmarks import BENCHMARKS, record_name

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

PATH = Path(__file__).with_name("record.schema.json")


class NotARecord(ValueError):
    """A line that the schema refuses: which, where in it, and why."""


def load() -> dict[str, Any]:
    """The schema, with every benchmark that a study's JSON lines may hold."""
    schema = json.loads(PATH.read_bytes())
    names = schema["properties"]["benchmark_name"]["enum"]
    registered = [record_name(name) for name, line in BENCHMARKS.items() if line.in_all]
    names += [name for name in registered if name not in names]
    return schema


def check_lines(lines: Iterable[str], name: str) -> int:
    """How many lines there are; NotARecord, naming `name` and the line, for one that fails."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(load())
    count = 0
    for count, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise NotARecord(f"{name}, line {count}: not JSON ({error})") from None
        wrong = jsonschema.exceptions.best_match(validator.iter_errors(record))
        if wrong is not None:
            where = ".".join(map(str, wrong.absolute_path)) or "record"
            raise NotARecord(f"{name}, line {count}, {where}: {wrong.message[:200]}")
    return count


def check_file(path: str | Path) -> int:
    """How many records a file of lines holds; NotARecord, naming it, where one fails or none is."""
    with open(path, "rb") as lines:
        try:
            count = check_lines((line.decode() for line in lines), str(path))
        except UnicodeDecodeError as error:
            raise NotARecord(f"{path} is not in UTF-8 ({error})") from None
    if not count:
        raise NotARecord(f"{path} holds no record")
    return count


def markdown() -> str:
    """Every key with its type and meaning: those of all records, then of each benchmark."""
    schema = load()
    parts = [f"# {schema['title']}", schema["description"]]
    parts += ["## Every record", *_table(schema["properties"], schema["$defs"])]
    for rule in schema["allOf"]:
        which = rule["if"]["properties"]["benchmark_name"]
        names = which.get("enum", [which.get("const")])
        title = " and ".join(f"`{name}`" for name in names)
        parts += [f"## {title}", *_table(rule["then"]["properties"], schema["$defs"])]
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


def _table(properties: dict[str, Any], defs: dict[str, Any]) -> Iterator[str]:
    lines = ["| key | type | meaning |", "| --- | --- | --- |"]
    for key, rule in properties.items():
        rule = defs[rule["$ref"].split("/")[-1]] if "$ref" in rule else rule
        lines.append(f"| `{key}` | {_type(rule)} | {rule.get('description', '')} |")
        inner = rule.get("properties") or rule.get("items", {}).get("properties", {})
        lines += [
            f"| `{key}.{name}` | {_type(part)} | {part['description']} |"
            for name, part in inner.items()
            if "description" in part
        ]
    yield "\n".join(lines)


def _type(rule: dict[str, Any]) -> str:
    if "const" in rule:
        return f"`{json.dumps(rule['const'])}`"
    if "enum" in rule:
        return ", ".join(f"`{value}`" for value in rule["enum"])
    kinds = rule.get("type", "object")
    return " or ".join(kinds) if isinstance(kinds, list) else kinds


def main(arguments: list[str]) -> int:
    """Print the tables, or check files; 1 where a line does not fit."""
    if arguments == ["--markdown"]:
        print(markdown(), end="")
        return 0
    try:
        for path in arguments:
            print(f"{path}: {check_file(path)} records")
    except (NotARecord, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
