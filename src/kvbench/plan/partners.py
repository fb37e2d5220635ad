"""Which samples of a run measure partners too: what they are compared with. No torch.

Two versions are compared over rounds that both ran in. A run that measures one of them and leaves
the other as it is would make none.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from kvbench.analysis.rounds import pairs
from kvbench.job import partners
from kvbench.plan import resources
from kvbench.plan.config_types import Config

JUDGED = ("latency", "decode")  # benchmarks whose versions are compared
Wildcards = Mapping[str, str]
Sample = tuple[str, Wildcards, str]  # benchmark, wildcards, output


def ask(
    planned: Iterable[Sample],
    versions: Iterable[str],
    path_of: Callable[[str, Wildcards], str],
    request: Callable[[str, Wildcards], partners.Request],
) -> None:
    """Write this run's requests; what an earlier one asked for is forgotten.

    `path_of` gives a sample's file, and `request` what a process of it takes, from benchmark and
    wildcards.
    """
    shutil.rmtree(partners.REQUESTS, ignore_errors=True)
    for output, samples in left_alone(planned, versions, path_of).items():
        partners.write(output, [request(*sample) for sample in samples])


def minutes(config: Config, where: Wildcards, output: str) -> int:
    """Wall time of the sample at `output` and of the partners that the run asks it to measure."""
    versions = [request["cell"]["version"] for request in partners.asked(output)]
    samples = [where, *({**where, "version": version} for version in versions)]
    return sum(resources.minutes(config, sample) for sample in samples)


def left_alone(
    planned: Iterable[Sample], versions: Iterable[str], path_of: Callable[[str, Wildcards], str]
) -> dict[str, list[tuple[str, Wildcards]]]:
    """Per planned sample's output: the samples it is compared with that are there and not planned.

    Each as (benchmark, wildcards).
    """
    samples = [sample for sample in planned if sample[0] in JUDGED]
    outputs = {output for _, _, output in samples}
    compared: dict[str, list[str]] = {}
    for version, baseline in pairs(list(versions)):
        compared.setdefault(version, []).append(baseline)
        compared.setdefault(baseline, []).append(version)
    found: dict[str, list[tuple[str, Wildcards]]] = {}
    for benchmark, wildcards, output in samples:
        for partner in compared.get(wildcards["version"], []):
            where = {**wildcards, "version": partner}
            path = path_of(benchmark, where)
            if path not in outputs and Path(path).exists():
                found.setdefault(output, []).append((benchmark, where))
    return found
