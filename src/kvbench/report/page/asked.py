"""What was asked and on what it ran, how noisy it was, and what the study leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kvbench.analysis.sentences import MEMORY, QUALITY, SPEED
from kvbench.analysis.verdict_notes import smallest
from kvbench.records.record import TIMED, Record
from kvbench.report.page.study import Study

NOISY = 0.25  # share of disturbed processes from which the page says so above its answers
# Question -> the benchmarks that answer it, why their cells may not suffice, why there are none.
LACKING = {
    SPEED: (
        TIMED,
        "Only one cache was timed, so that there is nothing to compare it with.",
        "the study's benchmarks name neither latency nor decode",
    ),
    MEMORY: (
        ("vram_vs_T",),
        "Only one cache was weighed, so that there is nothing to compare it with.",
        "the study's benchmarks do not name vram",
    ),
    QUALITY: (
        ("perplexity",),
        "Only the reference was scored, so that there is no change to show.",
        "no preset of this study has weights that can be scored",
    ),
}
ENOUGH = 8  # processes of a measurement that is to be published


def asked(study: Study) -> list[tuple[str, str]]:
    """Name and value of each setting that the numbers depend on, in the order people ask."""
    every = study.of(*TIMED) or study.records
    cell = study.first()
    if cell is None:
        return [("Study", study.name)]
    models = {f"{c['pretrained']} ({c['weights']} weights)": None for c in every}
    found = [("Model", ", ".join(models)), ("Batch", _values(c["batch_size"] for c in every))]
    lengths, depths = (sorted({c[axis] for c in every if axis in c}) for axis in ("T", "depth"))
    if lengths:
        prompts = _values(c["prompt_length"] for c in every if "T" in c)
        found.append(("Tokens", f"{prompts} in, {_values(lengths)} out"))
    if depths:
        found.append(("Depth", f"{_values(depths)} tokens"))
    if not study.of(*TIMED):
        found.append(("Text", ", ".join({c["text"]: None for c in every if "text" in c})))
    found += [
        ("Dtype", ", ".join(dict.fromkeys(c["dtype"] for c in every))),
        ("Device", _device(cell)),
    ]
    replicates = {c["replicates"] for c in every if "replicates" in c}
    if replicates:
        found.append(("Processes", f"{_values(replicates)} per measurement"))
    began = min(filter(None, map(_began, study.records)), default=None)
    if began:
        found.append(("Date", began[:10]))
    found.append(("Commit", ", ".join(dict.fromkeys(str(c.get("commit")) for c in every[:1]))))
    return found


def noise(study: Study) -> str | None:
    """How many processes other work disturbed, and what to do; None where few were."""
    cells = study.of(*TIMED)
    disturbed = sum(cell.get("disturbed", 0) for cell in cells)
    every = sum(cell.get("replicates", 0) for cell in cells)
    if not every or disturbed / every < NOISY:
        return None
    found = f"Noisy: other work disturbed {disturbed} of {every} processes"
    fewest = min(cell.get("replicates", ENOUGH) for cell in cells)
    if fewest == 1:
        return f"{found}, and one process shows no interval: this is a first look, no result."
    more = f" and {ENOUGH} replicates" if fewest < ENOUGH else ""
    return f"{found}, so that intervals are wide. A quiet machine{more} would narrow them."


def missing(study: Study) -> dict[str, str]:
    """For each part of the page that this study has nothing for: why, and what would measure it."""
    has = {section.question for section in study.sections}
    return {
        question: alone if study.of(*benchmarks) else f"Not measured: {why}."
        for question, (benchmarks, alone, why) in LACKING.items()
        if question not in has
    }


def remarks(study: Study) -> list[str]:
    """What must be read with the answers, one sentence each."""
    said = []
    for record in study.verdicts:
        several = len(study.verdicts) > 1
        text = smallest(record["detectable"]) if record.get("detectable") else None
        if text:
            said.append(f"{record['pretrained']}: {text}" if several else text)
        said += record.get("controls") or []
    if study.verdicts and not any(record.get("controls") for record in study.verdicts):
        said.append("The noise check was not run; the target controls makes it.")
    if any(record["rows"] and record.get("detectable") is None for record in study.verdicts):
        said.append("One process per measurement has no interval: ask for 5 replicates or more.")
    if study.every_place > len(study.places):
        said.append(
            f"{len(study.places)} of {study.every_place} batches and lengths are shown; the tables "
            "have all."
        )
    return said


def provenance(study: Study) -> list[tuple[str, str]]:
    """Where the numbers come from, for whoever wants to get them again."""
    cell = study.first()
    if cell is None:
        return []
    libraries = cell.get("libraries") or {}
    found = [
        ("Device", _device(cell)),
        ("CPU", " ".join(filter(None, [cell.get("cpu_name"), cell.get("cpu_capability")]))),
        ("System", cell.get("system")),
        ("Python", cell.get("python_version")),
        ("Libraries", ", ".join(f"{name} {version}" for name, version in libraries.items())),
        ("CUDA", cell.get("cuda_version")),
        ("Seed", cell.get("seed")),
        ("Commit", cell.get("commit")),
    ]
    for part, digest in (cell.get("provenance") or {}).items():
        if part in ("code", "weights", "data", "environment"):
            found.append((f"Digest of {part}", digest))
    return [(name, str(value)) for name, value in found if value not in (None, "")]


def _device(cell: Record) -> str:
    threads = cell.get("threads", 1)
    of_cpu = f", {threads} thread{'s' if threads > 1 else ''}" if cell["device"] == "cpu" else ""
    return f"{cell['device_name']}{of_cpu}"


def _values(values: Iterable[int]) -> str:
    """Few values one by one, of many the first and the last."""
    every = sorted(set(values))
    if len(every) <= 4:
        return ", ".join(f"{value:,}" for value in every)
    return f"{every[0]:,} to {every[-1]:,} ({len(every)} values)"


def _began(record: Record) -> str | None:
    """When a record's first process began."""
    return min(filter(None, _beginnings(record)), default=None)


def _beginnings(record: Record) -> Iterator[str | None]:
    for one in [record, *record.get("processes", [])]:
        yield (one.get("machine_state") or {}).get("began_at")
