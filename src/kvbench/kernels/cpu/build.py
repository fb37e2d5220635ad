"""Compile the native CPU kernels: one shared library that holds code for several processors."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kvbench.files import Json

SOURCES = Path(__file__).parent / "native"

# No fast-math: the quantiser must round as IEEE says, and NaN must stay NaN.
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fno-math-errno", "-fno-exceptions", "-fno-rtti"]
FLAGS += ["-fvisibility=hidden"]

# What each instruction set adds; the library picks one when it is loaded.
AVX512 = ["-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]
ISAS: dict[str, list[str]] = {
    "portable": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": AVX512,
    "avx512_vnni": [*AVX512, "-mavx512vnni"],
    "avx512_bf16": [*AVX512, "-mavx512vnni", "-mavx512bf16"],
}


# Flags of /proc/cpuinfo that a processor needs for each.
NEEDS: dict[str, set[str]] = {
    "portable": set(),
    "avx2": {"avx2", "fma"},
    "avx512": {"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"},
}
NEEDS["avx512_vnni"] = NEEDS["avx512"] | {"avx512_vnni"}
NEEDS["avx512_bf16"] = NEEDS["avx512_vnni"] | {"avx512_bf16"}
EVERY = "KVBENCH_EVERY_ISA"  # set in the environment: all that the compiler knows


class CompilerError(RuntimeError):
    """No usable C++ compiler."""


class BuildError(RuntimeError):
    """The compiler refused the sources."""


def sources() -> list[Path]:
    """Every native source file."""
    return sorted(path for path in SOURCES.iterdir() if path.suffix in (".h", ".cpp"))


def source_sha256() -> str:
    """Digest of every native source file, names included."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def find_compiler(cxx: str | None = None) -> str:
    """Path of `cxx`, else of $CXX, else of g++, clang++ or c++; raises CompilerError."""
    wanted = cxx or os.environ.get("CXX")
    for name in [wanted] if wanted else ["g++", "clang++", "c++"]:
        if path := shutil.which(name):
            return path
    if wanted:
        raise CompilerError(f"C++ compiler {wanted!r} not found: correct CXX or unset it")
    raise CompilerError("no C++ compiler found: install g++ or clang++, or set CXX")


def has_compiler() -> bool:
    """Whether there is a C++ compiler to build with."""
    try:
        version_of(find_compiler())
    except CompilerError:
        return False
    return True


def version_of(compiler: str) -> str:
    """The first line of a compiler's `--version`; raises CompilerError for what is none."""
    try:
        said = run([compiler, "--version"]).splitlines()
    except (BuildError, OSError) as error:
        raise CompilerError(f"{compiler} is no C++ compiler ({error}): correct CXX") from None
    if not said:
        raise CompilerError(f"{compiler} is no C++ compiler (it says no version): correct CXX")
    return said[0]


def isas_here(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """The best instruction set of this processor, and those that others of its kind fall back to.

    All of them where $KVBENCH_EVERY_ISA is set, as for a folder that unlike machines share, and
    where the processor's flags cannot be read.
    """
    said = cpuinfo.read_text() if cpuinfo.is_file() else ""
    flags = re.search(r"^flags\s*:(.*)$", said, re.M)
    if flags is None or os.environ.get(EVERY):
        return list(ISAS)
    runs = [isa for isa, needed in NEEDS.items() if needed <= set(flags[1].split())]
    return [isa for isa in ISAS if isa in ("portable", "avx2", runs[-1])]


def build(output: Path, cxx: str | None = None, isas: Collection[str] = tuple(ISAS)) -> Json:
    """Compile the library to `output` and return how: compiler, version, flags, isas, ...

    `isas` names the instruction sets; one that the compiler does not know is left out. The file
    appears whole or not at all. Raises CompilerError without a C++ compiler, BuildError with the
    compiler's first error.
    """
    output = Path(output)
    compiler = find_compiler(cxx)
    version = version_of(compiler)
    source = source_sha256()
    x86 = run([compiler, "-dumpmachine"]).startswith(("x86_64", "amd64"))
    kept = {
        isa: flags
        for isa, flags in ISAS.items()
        if isa == "portable" or (isa in isas and x86 and _accepts(compiler, flags))
    }
    openmp = _accepts(compiler, ["-fopenmp"], "#include <omp.h>\nint n = omp_get_max_threads();\n")
    flags = FLAGS + (["-fopenmp"] if openmp else [])
    here = [f"-DKVBENCH_{isa.upper()}" for isa in kept] + [f'-DKVBENCH_SOURCE="{source}"']

    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        units = {"dispatch": ["dispatch.cpp", *here]} | {
            isa: ["kernels.cpp", f"-DKVBENCH_TABLE=kvbench_{isa}", *extra]
            for isa, extra in kept.items()
        }
        commands = [
            [compiler, *flags, *options, "-c", str(SOURCES / name), "-o", f"{folder}/{unit}.o"]
            for unit, (name, *options) in units.items()
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, commands))
        library = Path(folder, output.name)
        objects = [f"{folder}/{unit}.o" for unit in units]
        run([compiler, *flags, "-shared", *objects, "-o", str(library)])
        if not library.is_file():
            raise BuildError(f"{compiler} says that it compiled, but there is no library")
        with library.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(library, output)
    return {
        "sha256": hashlib.sha256(output.read_bytes()).hexdigest(),
        "compiler": compiler,
        "version": version,
        "flags": flags,
        "isas": list(kept),
        "openmp": openmp,
        "source_sha256": source,
    }


def run(command: list[str]) -> str:
    """What a compiler said. Raises BuildError with its first error."""
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        lines = result.stderr.splitlines() or [f"exit status {result.returncode}"]
        first = next((line for line in lines if "error" in line), lines[-1])
        raise BuildError(f"{Path(command[0]).name}: {first.strip()}")
    return result.stdout


def _accepts(compiler: str, flags: list[str], source: str = "") -> bool:
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "probe.cpp")
        probe.write_text(source)
        try:
            run([compiler, *flags, "-fPIC", "-shared", str(probe), "-o", f"{folder}/probe.so"])
        except BuildError:
            return False
    return True
