"""Caches from outside the package: files that a study names, and packages that bring some.

A study's `caches: {mine: my_cache.py}` and the entry points of group `kvbench.caches` become
versions of their own name. Light: the Snakefile imports it, and no cache is loaded here.
"""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from kvbench import versions
from kvbench.files import Json
from kvbench.plan.refusal import ConfigError

GROUP = "kvbench.caches"


def register(config: Json) -> None:
    """Put the caches of installed packages and of a study's `caches` into the registry of versions.

    What is not a mapping from text to text is left to the schema to refuse. Raises ConfigError for
    a name that is taken.
    """
    for version, module in installed().items():
        versions.add(version, _line(module, f"cache of {module}"))
    named = config.get("caches")
    for version, path in named.items() if isinstance(named, dict) else ():
        if isinstance(version, str) and isinstance(path, str):
            try:
                versions.add(version, _line(path, _description(path)))
            except ValueError as error:
                raise ConfigError(f"config key 'caches': {error}") from None


@cache  # a search of every installed package
def installed() -> dict[str, str]:
    """Name -> dotted module, or `module:Class`, of each cache that an installed package brings."""
    return {point.name: point.value for point in entry_points(group=GROUP)}


def source(name: str) -> str:
    """Where the code of a cache is: `kvbench.caches.int8`, or the file of one from outside."""
    if "." not in name:
        return f"kvbench.caches.{name}"
    module = name.partition(":")[0]
    if module.endswith(".py"):
        return module
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise ValueError(f"no module {module!r}, which an installed package names as a cache")
    return found.origin


def _line(cache: str, description: str) -> versions.Version:
    """The registry line of a cache that `kvbench.caches.cache_class` loads by this name."""
    return {
        "description": description,
        "use_cache": True,
        "kv_cache_quant": False,
        "cross_layer_sharing": False,
        "cache": cache,
    }


def _description(path: str) -> str:
    """The first line of a file's docstring, where it can be read."""
    try:
        said = ast.get_docstring(ast.parse(Path(path.partition(":")[0]).read_bytes()))
    except (OSError, SyntaxError, ValueError):
        said = None
    return said.splitlines()[0] if said else f"cache of {path}"
