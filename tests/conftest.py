"""Shared by all tests: one torch thread, since two of them beside a busy neighbour crawl.

Without a GPU Triton kernels are interpreted, which is settled when they are first imported.
"""

import fcntl
import os
import signal
import sys
import tempfile
from pathlib import Path

import interpreter
import pytest
import torch
from fake_gpu import Driver

from kvbench import versions
from kvbench.engine.backend import Choice
from kvbench.inputs.build_kernels import build_or_say_why
from kvbench.kernels.cpu.build import ISAS, CompilerError, find_compiler, source_sha256
from kvbench.kernels.cpu.library import load
from kvbench.kernels.cpu.memory_account import NAME
from kvbench.records.store import SCHEMA_VERSION

torch.set_num_threads(1)
# Started in the background it would be ignored, here and in all that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
    interpreter.remember_builtins()
os.environ["KVBENCH_TUNE"] = "0"  # compiling every choice of settings takes long
LONGEST = ("perf", "workflow", "kernels", "report", "engine", "bench")  # folders, the slowest first


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of a module whose DEVICE is cuda are GPU tests too; without CUDA those are skipped.

    Of several processes none may be left with the longest files when the others have ended.
    """
    if hasattr(config, "workerinput"):  # of pytest-xdist
        items.sort(key=lambda item: [folder not in item.path.parts for folder in LONGEST])
    for item in items:
        if getattr(getattr(item, "module", None), "DEVICE", None) == "cuda":
            item.add_marker(pytest.mark.gpu)
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def registry():
    """The registry, which after a test is as it was before."""
    tables = (versions.VERSIONS, versions.NAMES, versions.BY_NAME)
    before = [dict(table) for table in tables]
    yield
    for table, kept in zip(tables, before, strict=True):
        if table != kept:
            table.clear()
            table.update(kept)


@pytest.fixture(scope="session", autouse=True)
def locks(tmp_path_factory):
    """Locks of devices, which lie in TMPDIR, for this process's tests alone: none waits for others.

    What Inductor has compiled stays where later runs find it.
    """
    folder = str(tmp_path_factory.mktemp("tmp"))
    compiled = Path(tempfile.gettempdir(), f"kvbench-{os.getuid()}-inductor")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr("tempfile.tempdir", folder)
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(compiled))
        yield


@pytest.fixture(scope="session")
def library(pytestconfig):
    """The compiled library, and the account beside it, kept while the sources stay the same."""
    try:
        compiler = find_compiler()
    except CompilerError as error:
        pytest.skip(str(error))
    folder = Path(pytestconfig.cache.mkdir("kernels"))
    path = folder / f"{Path(compiler).name}-{SCHEMA_VERSION}-{source_sha256()}.so"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record, account = path.with_suffix(".json"), path.with_name(NAME)
        if not (record.exists() and account.exists()):
            for old in [*folder.glob("*.so"), *folder.glob("*.json")]:
                old.unlink()
            build_or_say_why(path, record, account)
    return path


@pytest.fixture(params=ISAS)
def isa(request, library):
    """Each instruction set in turn; one that the library or this processor lacks is skipped."""
    try:
        return load(library, request.param).isa
    except ValueError as error:
        if request.param == "portable":
            raise
        pytest.skip(str(error).removeprefix(f"{library} "))


@pytest.fixture
def choice(isa, library):
    """What `settle` finds for a CPU with a compiler, for each instruction set in turn."""
    return Choice("eager", "native", "panels", native=load(library, isa))


@pytest.fixture
def driver(monkeypatch):
    """A driver that counts what the test says, behind NVIDIA's own bindings."""
    made = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made
