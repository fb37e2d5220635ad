"""Studies for the page, from published records."""

import json
from functools import cache
from pathlib import Path

from kvbench.analysis.gates import DEFAULTS, SCORED
from kvbench.analysis.gates import judge as judge_quality
from kvbench.analysis.verdicts import judge
from kvbench.benchmarks import BENCHMARKS, record_name
from kvbench.records.record import TIMED
from kvbench.report.page.study import Study

PUBLISHED = Path(__file__).parents[2] / "published/cpu-amd-epyc-avx2"
BENCHMARK = {record_name(name): name for name in reversed(BENCHMARKS)}
LENGTHS = {"T": "T", "depth": "D"}


@cache
def published(folder="."):
    """The study of a published results.jsonl."""
    text = (PUBLISHED / folder / "results.jsonl").read_text()
    roofs = PUBLISHED / folder / "roofs.json"
    return study(
        map(json.loads, text.splitlines()),
        json.loads(roofs.read_text()) | {"benchmark_name": "roofs"} if roofs.exists() else None,
    )


def study(records, roofs=None, name="made"):
    """The study of these records, judged as the workflow judges them."""
    cells = [(path_of(record, name), record) for record in records]
    timed = {}
    for _, record in cells:
        if record["benchmark_name"] in TIMED:
            timed.setdefault(record["pretrained"], []).append(record)
    verdicts = [judge(own, margin=0.02) for own in timed.values()]
    scored = {}
    for _, record in cells:
        if record["benchmark_name"] in SCORED:
            scored.setdefault(record["pretrained"], []).append(record)
    gates = [judge_quality(own, DEFAULTS, drawn=False) for own in scored.values()]
    return Study(name, cells, verdicts, roofs, gates)


def path_of(record, name):
    """The file that a cell was read from."""
    place = "".join(f"/{s}{record[axis]}" for axis, s in LENGTHS.items() if axis in record)
    folder = f"results/{name}/{BENCHMARK[record['benchmark_name']]}/{record['pretrained']}"
    return f"{folder}/{record['version']}/B{record['batch_size']}{place or '/'}.json"
