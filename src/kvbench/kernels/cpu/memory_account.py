"""The account of torch's CPU memory: a few lines of C++ on the hook that its profiler uses.

Compiled against the torch that is there, beside the kernels' library. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from ctypes import c_char_p, c_int64
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from kvbench.files import placeholder
from kvbench.kernels.cpu.build import find_compiler, run

SOURCE = Path(__file__).with_suffix(".cpp")
NAME = "account.so"
FLAGS = ["-std=c++20", "-O2", "-fPIC", "-fvisibility=hidden", "-shared"]


def build(output: Path) -> None:
    """Compile the account to `output`, whole or not at all. Raises CompilerError, BuildError."""
    compiler = find_compiler()
    spec = find_spec("torch")
    assert spec and spec.submodule_search_locations
    torch = Path(spec.submodule_search_locations[0])
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        made = Path(folder, output.name)
        options = [f'-DKVBENCH_TORCH="{version("torch")}"', f"-I{torch / 'include'}"]
        run(
            [
                compiler,
                *FLAGS,
                *options,
                str(SOURCE),
                f"-L{torch / 'lib'}",
                "-lc10",
                "-o",
                str(made),
            ]
        )
        os.replace(made, output)


def load(path: Path) -> ctypes.CDLL | None:
    """The account at `path`, once torch is imported; None where there is none for this torch."""
    if not path.exists() or placeholder.reason(path):
        return None
    library = ctypes.CDLL(str(path))
    library.account_torch.restype, library.account_split.restype = c_char_p, c_int64
    return library if library.account_torch().decode() == version("torch") else None
