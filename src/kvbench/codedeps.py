"""Which source files a script can reach: found by following its `kvbench` imports statically.

Snakemake notices a changed module only when that module is a declared input, so every rule declares
the files this module finds. Standard library only; nothing is imported or run.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

SRC = Path(__file__).resolve().parents[1]
PACKAGE = "kvbench"


def reachable(script: Path, *modules: str, src: Path = SRC) -> list[Path]:
    """The script, plus every package file that it or `modules` import, directly or not; sorted.

    `modules` are dotted names loaded by name at run time (a cache, an architecture), which no
    static reading can see. Raises FileNotFoundError for one that does not exist.
    """
    seen: set[Path] = set()
    queue = [Path(script)]
    for name in modules:
        files = _files_of(name, src)
        if not files or name.split(".")[-1] not in files[-1].with_suffix("").parts[-2:]:
            raise FileNotFoundError(f"no module {name!r} under {src}")
        queue += files
    while queue:
        path = queue.pop()
        if path not in seen:
            seen.add(path)
            stat = path.stat()
            names = _imports(path, src, stat.st_mtime_ns, stat.st_size)
            queue += [file for name in names for file in _files_of(name, src)]
    return sorted(seen)


def _files_of(name: str, src: Path) -> list[Path]:
    """The files that importing the dotted `name` runs: every package above it, then its module."""
    parts = name.split(".")
    files = [src.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    files.append(src.joinpath(*parts).with_suffix(".py"))
    return [file for file in files if file.is_file()]


@cache
def _imports(path: Path, src: Path, _mtime_ns: int, _size: int) -> tuple[str, ...]:
    """Dotted names under the package that `path` imports, anywhere in its code."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: resolve against the package that holds this file
                package = path.relative_to(src).parent.parts
                base = ".".join([*package[: len(package) - node.level + 1], *base.split(".")])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(name for name in dict.fromkeys(names) if name.split(".")[0] == PACKAGE)
