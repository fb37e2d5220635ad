"""Which source files a script can reach: found by following its `kvbench` imports statically.

Snakemake notices a changed module only through a declared input, and pays for every input of every
job when it plans. So each rule declares one file, the listing of what its script reaches: a line of
sha256 and path per file, as `sha256sum` writes them. Snakemake compares so small a file by content:
an edit re-runs what lists the file, a touch re-runs nothing.
Standard library only; nothing is imported or run.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from kvbench.files import replacing
from kvbench.records.provenance import LISTING

SRC = Path(__file__).resolve().parents[2]
PACKAGE = "kvbench"
LISTINGS = Path(".snakemake/code")  # of this working folder alone, never shared or copied


def listing(script: Path, *modules: str) -> Path:
    """The path of the listing of what the script and `modules` reach: named after these alone."""
    return LISTINGS / (".".join([script.stem, *map(_short, modules)]) + LISTING)


def _short(name: str) -> str:
    """A module within the package, or a file and which of its name."""
    if not _is_file(name):
        return name.removeprefix(f"{PACKAGE}.")
    which = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{Path(name).stem}-{which}"


def _is_file(name: str) -> bool:
    return name.endswith(".py")


def write_listing(script: Path, *modules: str, root: Path = SRC.parent, src: Path = SRC) -> Path:
    """Bring the listing up to date, with paths relative to `root`; returns its path.

    It is written only where it would change. A new one is dated as the newest file in it, so that
    a listing that got lost makes no result look old.
    """
    path, files = listing(script, *modules), _reachable(script, modules, src)
    text = "".join(_line(file, root, *_state(file)) for file in files)
    known = path.read_text() if path.exists() else None
    if text != known:
        with replacing(path) as temporary:
            temporary.write_text(text)
            if known is None:
                newest = max(os.stat(file).st_mtime_ns for file in files)
                os.utime(temporary, ns=(newest, newest))
    return path


def reachable(script: Path, *modules: str, src: Path = SRC) -> list[Path]:
    """The script, plus every package file that it or `modules` import, directly or not; sorted.

    `modules` are dotted names loaded by name at run time (a cache, an architecture), which no
    static reading can see, or files outside the package (`mine.py`), of which their imports of the
    package count as well. Raises FileNotFoundError for one that does not exist.
    """
    return [Path(file) for file in _reachable(script, modules, src)]


def _reachable(script: Path, modules: Sequence[str], src: Path) -> list[str]:
    """Paths as text, of which a plan looks at ten thousand."""
    seen: set[str] = set()
    queue, folder = [str(script)], str(src)
    for name in modules:
        if _is_file(name):
            queue.append(name)
            continue
        files = _files_of(name, folder)
        if not files or name.split(".")[-1] not in Path(files[-1]).with_suffix("").parts[-2:]:
            raise FileNotFoundError(f"no module {name!r} under {src}")
        queue += files
    while queue:
        file = queue.pop()
        if file not in seen:
            seen.add(file)
            queue += _imported(file, folder, *_state(file))
    return sorted(seen)


def _files_of(name: str, src: str) -> list[str]:
    """The files that importing the dotted `name` runs: every package above it, then its module."""
    files, folder = [], src
    for part in name.split("."):
        module, folder = f"{folder}/{part}.py", f"{folder}/{part}"
        files.append(f"{folder}/__init__.py")
    return [file for file in [*files, module] if os.path.isfile(file)]


def _state(file: str) -> tuple[int, int]:
    """What changes with a file's content: it is looked at anew only then."""
    stat = os.stat(file)
    return stat.st_ctime_ns, stat.st_size


@cache
def _imported(file: str, src: str, ctime_ns: int, size: int) -> list[str]:
    """The files of the package that a file imports, anywhere in its code."""
    names = _parsed().names(file, src, _sha256(file, ctime_ns, size))
    return list(dict.fromkeys(path for name in names for path in _files_of(name, src)))


def _names(file: str, src: str) -> list[str]:
    """The dotted names of the package that a file imports, or may."""
    names: list[str] = []
    for node in _statements(ast.parse(Path(file).read_bytes(), filename=file)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: resolve against the package that holds this file
                package = Path(file).relative_to(src).parent.parts
                base = ".".join(
                    [*package[: len(package) - node.level + 1], *([base] if base else [])]
                )
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [name for name in dict.fromkeys(names) if name.split(".")[0] == PACKAGE]


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Every statement, but for what stands under `if TYPE_CHECKING` and never runs."""
    below: list[ast.AST] = [tree]
    while below:
        node = below.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            below += node.orelse
            continue
        if isinstance(node, ast.stmt):
            yield node
        for block in ("finalbody", "orelse", "cases", "handlers", "body"):
            below += reversed(getattr(node, block, []))


@cache  # a file is in as many listings as there are scripts that reach it
def _line(file: str, root: Path, ctime_ns: int, size: int) -> str:
    path = Path(file)
    shown = path.relative_to(root) if path.is_relative_to(root) else path.resolve()
    return f"{_sha256(file, ctime_ns, size)}  {shown}\n"


@cache
def _sha256(file: str, _ctime_ns: int, _size: int) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


class _Parsed:
    """What was found in each file, kept from one run to the next: parsing takes half a second."""

    def __init__(self) -> None:
        parser = _sha256(__file__, *_state(__file__))
        self.path = Path.cwd() / LISTINGS / f"imports-{parser[:12]}.json"
        self.changed = False
        self.found: dict[str, tuple[str, list[str]]] = {}  # of a path: its sha256, what it imports
        with contextlib.suppress(OSError, ValueError):
            self.found = dict(json.loads(self.path.read_bytes()))

    def names(self, file: str, src: str, sha256: str) -> list[str]:
        """The dotted names of the package that a file of this content imports."""
        known, names = self.found.get(file, ("", []))
        if known != sha256:
            names = _names(file, src)
            self.found[file] = sha256, names
            self.changed = True
        return names

    def keep(self) -> None:
        """Write down what was parsed anew, beside the listings; a cache may fail to be kept."""
        if self.changed and self.path.parent.is_dir():
            with contextlib.suppress(OSError), replacing(self.path) as temporary:
                temporary.write_text(json.dumps(self.found))


@cache
def _parsed() -> _Parsed:
    """Of this process, kept when it ends."""
    parsed = _Parsed()
    atexit.register(parsed.keep)
    return parsed
