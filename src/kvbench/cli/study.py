"""What `kvbench run` is asked for, made a study: a configuration and targets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from kvbench import versions
from kvbench.benchmarks import BENCHMARKS
from kvbench.cli import workflow
from kvbench.cli.errors import Refusal, unknown
from kvbench.files import Json
from kvbench.presets import PRESETS

PLURAL = ("all", "figures", "tables", "page", "executions")  # targets that are no benchmark
ADHOC = "run"  # the study of a run that names caches or options and no study
LENGTHS = {"T_values": "tokens", "batch_size": "batch"}


@dataclass
class Asked:
    """The words of a command line, sorted by what they name."""

    targets: list[str] = field(default_factory=list)  # benchmarks, plural targets, files
    versions: list[str] = field(default_factory=list)
    studies: list[str] = field(default_factory=list)
    caches: dict[str, str] = field(default_factory=dict)  # from outside the package: name -> file

    @classmethod
    def of(cls, words: list[str]) -> Asked:
        """Each word as a target, cache, study or file. Raises Refusal for one that is none."""
        asked, known = cls(), workflow.studies()
        for word in words:
            if word in BENCHMARKS or word in PLURAL or word.startswith("results/"):
                asked.targets.append(word)
            elif word in versions.BY_NAME or word in versions.VERSIONS:
                asked.versions.append(word)
            elif word.endswith(".py"):
                asked.add_cache(word)
            elif word in known or word.endswith((".yaml", ".yml")):
                asked.studies.append(word)
            else:
                names = [*versions.BY_NAME, *BENCHMARKS, *PLURAL, *known]
                raise unknown("cache, benchmark or study", word, dict.fromkeys(names))
        return asked

    def add_cache(self, file: str) -> None:
        """A cache from outside the package, by its file; its name is the file's. Raises Refusal."""
        name = Path(file.partition(":")[0]).stem.replace("_", "-")
        if not Path(file.partition(":")[0]).is_file():
            raise Refusal(f"no file {file!r}: give a Python file with a class KVCache")
        self.caches[name] = file
        self.versions.append(name)


def overrides(
    asked: Asked, models: list[str], tokens: list[int], depths: list[int], more: Json
) -> Json:
    """The configuration keys that the command line sets; `more` are those given one to one."""
    found: Json = {key: value for key, value in more.items() if value not in (None, [])}
    if asked.caches:
        found["caches"] = asked.caches
    if asked.versions:
        found["versions"] = list(dict.fromkeys(asked.versions))
    for model in models:
        if model not in PRESETS and not re.search("[/:.]", model):  # what has these is a path
            raise unknown("model", model, PRESETS)
    if models:
        found["pretrained"] = models
    if tokens:
        found["T_values"] = tokens
    if depths:
        found["decode"] = {"depths": depths}
    wanted = [target for target in asked.targets if target in BENCHMARKS]
    if wanted and all(BENCHMARKS[target].in_all for target in wanted):
        found["benchmarks"] = wanted
    return found


def compose(asked: Asked, files: list[str], set_here: Json, study: str | None) -> tuple[Json, str]:
    """A study's configuration, and its name: its files', then what was set on the command line.

    A run that names nothing is the default study. One that names caches or a model and no study
    measures these alone: their speed and memory, and their quality where the model has weights that
    were trained.
    """
    base: Json = {}
    named = asked.studies or files
    default = [] if named or set_here else [workflow.DEFAULT]
    for path in map(workflow.study_file, [*default, *asked.studies, *files]):
        base = merged(base, workflow.configuration(path))
    if set_here and not named and "benchmarks" not in set_here:
        set_here = {**alone(set_here), **set_here}
    elif "pretrained" in set_here and not named:  # its quality, of no model that was not named
        set_here = {"perplexity": {"presets": trained(set_here["pretrained"])}, **set_here}
    name = study or (ADHOC if set_here else None)
    if name is None:
        name = Path(named[-1]).stem if named else workflow.DEFAULT
        name = base.get("study", workflow.DEFAULT if name == "config" else name)
    return merged(base, set_here) | {"study": name}, name


def alone(set_here: Json) -> Json:
    """The benchmarks of a run without a study: speed, memory, and quality of trained weights."""
    real = trained(set_here.get("pretrained", ["gpt2"]))
    # A depth is filled, not run.
    asked = ["decode"] if "decode" in set_here else ["latency", "vram"]
    found: Json = {"benchmarks": [*asked, *(["perplexity"] if real else [])]}
    if real:
        found["perplexity"] = {"presets": real}
    return found


def trained(models: list[str]) -> list[str]:
    """The presets among these whose weights are not random."""
    return [m for m in models if m in PRESETS and PRESETS[m]["weights"] != "random"]


def merged(base: Json, more: Json) -> Json:
    """`base` with the keys of `more`, section by section."""
    found = dict(base)
    for key, value in more.items():
        known = found.get(key)
        both = isinstance(known, dict) and isinstance(value, dict)
        found[key] = merged(known, value) if both and isinstance(known, dict) else value
    return found


def numbers(given: list[str], option: str) -> list[int]:
    """Whole numbers of a list option: `8,16`, or `--option 8 --option 16`. Raises Refusal."""
    parts = [part.strip() for text in given for part in text.split(",") if part.strip()]
    try:
        return list(dict.fromkeys(map(int, parts)))
    except ValueError:
        raise Refusal(
            f"--{option} is {','.join(given)!r}; allowed: whole numbers parted by commas, as 8,16"
        ) from None


def listed(given: list[str]) -> list[str]:
    """Names of a list option, parted by commas or given one by one."""
    return list(dict.fromkeys(part for text in given for part in text.split(",") if part))
