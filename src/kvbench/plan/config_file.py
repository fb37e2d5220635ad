"""A configuration as written: YAML, each key once, printable text, finite numbers."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from kvbench.plan.refusal import ConfigError, shown

DEEPEST, MOST_VALUES, LARGEST_BITS = 6, 50_000, 128  # levels; values in all; bits of a number


def check_written(path: str | Path) -> None:
    """Raise ConfigError for a file that holds no configuration, or that gives a key twice.

    Of such keys YAML would keep the last. What Snakemake cannot load itself it refuses in words of
    its own, before it reads the Snakefile: who asks here first gets one line.
    """
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if isinstance(root, yaml.MappingNode):
            _check_keys(path, root)
            given = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not in UTF-8, at byte {error.start}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}, is not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = str(error).splitlines() or [type(error).__name__]
        raise ConfigError(f"{path} is not YAML: {said[0]}") from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path} holds no configuration; allowed: keys and values, one a line")
    check_plain(given, name=str(path))


def _check_keys(path: str | Path, root: Any) -> None:
    """Raise ConfigError for a key that a mapping, at any depth, gives twice."""
    import yaml

    queue, seen = [root], {id(root)}
    for node in queue:
        inner = node.value
        if isinstance(node, yaml.MappingNode):
            keys = Counter(key.value for key, _ in inner if isinstance(key, yaml.ScalarNode))
            for key, count in keys.items():
                if count > 1:
                    raise ConfigError(
                        f"{path} gives config key {shown(key)} {count} times in the mapping that "
                        f"begins at line {node.start_mark.line + 1}: keep one"
                    )
            inner = [value for _, value in inner]
        for value in inner if isinstance(inner, list) else ():
            if id(value) not in seen:  # an anchor may lead back to where it stands
                seen.add(id(value))
                queue.append(value)


def check_plain(given: Any, name: str = "the configuration") -> None:
    """Keys that are text, text that can be written on one line, numbers that can be, an end."""
    queue: list[tuple[Any, str, int]] = [(given, "", 0)]
    for value, path, depth in queue:
        where = f"config key {shown(path)}" if path else name
        if depth > DEEPEST:
            raise ConfigError(f"{where} is nested too deep; allowed: {DEEPEST} levels, no cycle")
        if len(queue) > MOST_VALUES:
            raise ConfigError(f"{name} has more than {MOST_VALUES} values; allowed: fewer")
        for key in value if isinstance(value, dict) else ():
            if not isinstance(key, str):
                raise ConfigError(f"{where} has the key {shown(key)}; allowed: text")
            if not key.isprintable():
                raise ConfigError(f"{where} is {shown(key)}; allowed: text of printable characters")
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            queue += [(v, f"{path}.{key}" if path else str(key), depth + 1) for key, v in items]
        if isinstance(value, int) and value.bit_length() > LARGEST_BITS:
            raise ConfigError(f"{where} is a number of {value.bit_length()} bits; allowed: fewer")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where} is {value}; allowed: finite numbers")
        if isinstance(value, str) and not value.isprintable():
            raise ConfigError(f"{where} is {shown(value)}; allowed: text of printable characters")
