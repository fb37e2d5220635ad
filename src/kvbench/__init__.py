"""kvbench: what a KV-cache optimisation of a GPT really costs and gains.

    model = kvbench.load("gpt2", version="int8")         a model that runs as that version
    results = kvbench.read_results("results/default")    a data frame a benchmark
    kvbench.compare(results.latency, "int8", "dense", T=16)

Names are loaded when they are used: the import itself takes milliseconds, and no job of the
workflow depends on them.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kvbench.job import isolation

if TYPE_CHECKING:
    from kvbench.api import LoadedModel, check_cache, compare, load, read_results, verdicts

__all__ = ["LoadedModel", "check_cache", "compare", "load", "read_results", "verdicts"]

isolation.leave_host()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("kvbench")
    if name in __all__:
        return getattr(importlib.import_module("kvbench.api"), name)
    raise AttributeError(f"module 'kvbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
