"""The workflow, called: where it lies, what a study's configuration is, Snakemake as a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from kvbench.cli.errors import Refusal, unknown
from kvbench.files import Json
from kvbench.plan.config_types import Config
from kvbench.records.provenance import PROJECT

DEFAULT = "default"


def project() -> Path:
    """The folder of the workflow: the working folder, one above it, or that of this package.

    Raises Refusal where there is none, as after an installation without the project's folder.
    """
    for folder in (Path.cwd(), *Path.cwd().parents, PROJECT):
        if (folder / "Snakefile").is_file() and (folder / "config/schema.yaml").is_file():
            return folder
    raise Refusal(
        "no workflow here: run this in the project's folder, which holds Snakefile and config/"
    )


def studies() -> dict[str, Path]:
    """Name -> file of the studies under config/."""
    files = sorted((project() / "config").glob("*.yaml"))
    found = {path.stem: path for path in files if path.stem not in ("schema", "config")}
    return {DEFAULT: project() / "config/config.yaml", **found}


def study_file(name: str) -> Path:
    """The configuration file of a study, by name or path. Raises Refusal for none."""
    if name in studies():
        return studies()[name]
    if Path(name).is_file():
        return Path(name)
    raise unknown("study", name, studies(), "; or the path of a configuration file")


def results_of(study: str) -> Path:
    """The folder of a study's results, by its name or path. Raises Refusal where there are none."""
    folder = Path(study) if Path(study).is_dir() else Path("results", study)
    if folder.is_dir():
        return folder
    made = sorted(path.name for path in Path("results").glob("*") if path.is_dir())
    if not made:
        raise Refusal(f"no results of {study!r}: there are none here yet; `kvbench run` makes some")
    raise unknown("results", study, made, "; or a folder of results")


def configuration(path: Path) -> Json:
    """What a study's file says, unchecked but for being a mapping. Raises Refusal."""
    import yaml

    from kvbench.plan.config import ConfigError, check_written

    try:
        check_written(path)
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ConfigError, yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"{path} is no study: {error}") from None
    if not isinstance(given, dict):
        raise Refusal(f"{path} is no study: it holds no mapping of configuration keys")
    return given


def resolved(given: Json, name: str) -> Config:
    """The whole configuration, checked as the workflow checks it. Raises Refusal."""
    from kvbench.plan import own_caches
    from kvbench.plan.config import ConfigError, load_schema, resolve

    try:
        own_caches.register(given)
        return resolve(dict(given), load_schema(), name=name)
    except ConfigError as error:
        raise Refusal(str(error)) from None


def registered(studies: Sequence[str]) -> Json:
    """The versions of the registry and those that studies bring or describe. Raises Refusal."""
    from kvbench.plan import described, own_caches
    from kvbench.plan.refusal import ConfigError
    from kvbench.versions import VERSIONS

    try:
        own_caches.register({})
        for name in studies:
            given = configuration(study_file(name))
            own_caches.register(given)
            described.place(given)
    except ConfigError as error:
        raise Refusal(str(error)) from None
    return VERSIONS


def command(targets: Iterable[str], options: Sequence[str], cores: int) -> list[str]:
    """Snakemake's command line for these targets."""
    where = ["--snakefile", str(project() / "Snakefile"), "--cores", str(cores)]
    return [sys.executable, "-m", "snakemake", *targets, *where, *options]


def call(targets: Iterable[str], options: Sequence[str], cores: int = 1) -> int:
    """Run Snakemake on this terminal; its exit status."""
    return subprocess.run(command(targets, options, cores)).returncode
