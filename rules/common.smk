"""The study's configuration, and the functions that rules share."""

import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from snakemake.exceptions import WorkflowError

from kvbench import cells, codedeps
from kvbench.config import ConfigError, load_schema, quality_presets, resolve
from kvbench.presets import PRESETS, get_preset
from kvbench.versions import VERSIONS, cache_module, get_version_config

ROOT = Path(workflow.basedir)

_files = workflow.overwrite_configfiles
try:
    config = resolve(
        dict(config),
        load_schema(ROOT / "config/schema.yaml"),
        name=Path(_files[-1]).stem if _files else "default",
    )
except ConfigError as refusal:
    raise WorkflowError(str(refusal)) from None

STUDY = config["study"]
TIMED = config["pretrained"]  # presets measured for time and memory
SCORED = quality_presets(config)  # presets whose perplexity means something
MADE = config["benchmarks"]
TURNS = cells.run_order(config, TIMED)


wildcard_constraints:
    study=re.escape(STUDY),
    preset="|".join(map(re.escape, [*PRESETS, "custom"])),
    version="|".join(map(re.escape, VERSIONS)),
    benchmark="latency|vram|phase",
    phase="prefill|decode",
    batch=r"[1-9]\d*",
    T=r"[1-9]\d*",
    P=r"[1-9]\d*",
    replicate=r"[1-9]\d*",
    ext="svg|png",


def code(script, *modules):
    """The script and every kvbench module it can reach: an edit of one of these re-runs the rule."""
    return [
        str(path.relative_to(ROOT))
        for path in codedeps.reachable(ROOT / "scripts" / script, *modules)
    ]


def measured_code(script):
    """The code of a measuring job: the script's, its version's cache and its preset's architecture."""

    def files(wildcards):
        arch = "gpt2" if wildcards.preset == "custom" else get_preset(wildcards.preset)["arch"]
        cache = cache_module(wildcards.version)
        return code(script, f"kvbench.caches.{cache}", f"kvbench.models.{arch}")

    return files


def cell(benchmark):
    """The one param of a measuring job: its cell, as plain data."""

    def told(wildcards):
        return cells.cell(config, benchmark, **wildcards)

    return told


def weights(wildcards):
    """The weights file of the wildcards' preset."""
    return cells.weights_file(config, wildcards.preset)


def turn(wildcards):
    """Priority of a sample: earlier turns of the interleaved order first."""
    key = ("preset", "batch", "T", "replicate", "version")
    place = TURNS.get(tuple(wildcards[name] for name in key))
    return 0 if place is None else len(TURNS) - place
