"""Targets beside other runners: the same weights, prompt and tokens, generations in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from kvbench.bench.peers import first_difference, started
from kvbench.bench.setup import ready
from kvbench.engine.generate import no_mark
from kvbench.files.placeholder import NotMeasuredError
from kvbench.peers import missing
from kvbench.plan import cells
from perf.steps import EAGER, by, cost, study
from perf.turns import alternate, generated

TOKENS = 16


def peer(settings: dict[str, Any]) -> dict[str, Any]:
    """A decode step of another runner's greedy generation over the same step of a version's."""
    name, version = settings["peer"], settings.get("version", "v1")
    if lacking := missing(name):
        raise NotMeasuredError(f"not installed: {', '.join(lacking)}")
    config = study(settings) | {"prompt_length": settings["depths"][0], "temperature": 0}
    ours = cells.cell(config, "latency", settings["preset"], version, T=TOKENS)
    with (
        ready(ours.replace(**EAGER), None) as plain,
        ready(ours, None, settings["library"]) as setup,
    ):
        module, other, tokens = started(name, plain, TOKENS)
        generates = setup.runner(TOKENS)

        def own(mark: Callable[[], None]) -> Tensor:
            return generates(mark, TOKENS)

        at = first_difference(own(no_mark), tokens, setup.prompt.size(1))
        both = {"other": other, "ours": own}
        turns = {k: generated(run, TOKENS, setup.device) for k, run in both.items()}
        samples = alternate(turns, settings["seconds"], setup.device)
        ran = setup.choice.facts() | {"peer": module.LIBRARY, "first_difference": at}
        least = cost(setup, 1, settings["depths"][0] + TOKENS // 2).bytes
        return {
            "pairs": {"": samples.pair("other", "ours")},
            "bytes": least,
            "ran": ran,
            **by(samples),
        }
