"""The steps of the GPU evidence, as data: most valuable first. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from kvbench.ncu import runner

HERE = "perf.evidence"
ROWS = ("gpu-graph", "gpu-int8", "gpu-bandwidth")
COUNTED = {"v1": 150, "v2": 100}  # versions whose decode step the counters look into
TEST_PROCESSES = 12  # of the GPU's tests, which mostly compile


@dataclass(frozen=True)
class Step:
    """One step: a Python module and its arguments, in a process of its own.

    limit_s is the most it may take. In arguments {out} is the folder of results, {scratch} that of
    weights, and {small} `--small` in a rehearsal and else nothing. `presets` are those whose random
    weights it reads. It is done where it ends with one of `done`.
    """

    name: str
    limit_s: int
    module: str
    arguments: tuple[str, ...]
    presets: tuple[str, ...] = ()
    done: tuple[int, ...] = (0,)
    meanwhile: tuple[str, ...] = ()  # a module and its arguments, run meanwhile; it may fail


def _cells(group: str, number: int, limit_s: int, *presets: str) -> Step:
    name = f"{group}-{number}"
    arguments = (group, name, "{out}/cells.jsonl", "--weights", "{scratch}", "{small}")
    return Step(name, limit_s, f"{HERE}.cells", arguments, presets)


def _row(row: str, limit_s: int, preset: str, processes: int, small: bool) -> Step:
    arguments = [row, "--processes", str(processes), "--output", "{out}/speed.json"]
    arguments += ["--tensors", "{scratch}", "--library", "none"]
    arguments += ["--small", "--device", "cpu"] if small else []
    return Step(row, limit_s, "perf", tuple(arguments), (preset,))


def steps(rounds: int = 3, small: bool = False) -> list[Step]:
    """Every step in order. What is compared with intervals is measured in `rounds` processes."""
    numbers = range(1, rounds + 1)
    # 1: tests that fail are a result as well.
    settle = (f"{HERE}.settings", "--weights", "{scratch}", "{small}")
    meanwhile = () if small else (*settle, "--compile")
    tests = Step("tests", 220, "pytest", (*_pytest(small), *_chosen(small)), (), (0, 1), meanwhile)
    return [
        Step("facts", 40, f"{HERE}.facts", ("{out}/facts.json", "{small}")),
        tests,
        Step("settings", 150, settle[0], settle[1:], ("gpt2", "gpt2-xl", "qwen3-0.6b")),
        *(_row(row, 70, _preset(row), rounds, small) for row in ROWS),
        *(_cells("executions", n, 50, "gpt2") for n in numbers[:2]),
        *(_cells("decode", n, 60, "gpt2") for n in numbers),
        _attention(1),
        _cells("formats", 1, 60, "gpt2"),
        Step("launches", 45, f"{HERE}.launches", ("{out}/launches.json", "{small}")),
        _cells("large", 1, 60, "gpt2-xl", "qwen3-0.6b"),
        _cells("memory", 1, 60, "gpt2"),
        _cells("peers", 1, 100, "gpt2"),
        *_counters(small),
        *(_attention(n) for n in numbers[1:]),
        *(_cells("formats", n, 60, "gpt2") for n in numbers[1:]),
        *(_cells("large", n, 60, "gpt2-xl", "qwen3-0.6b") for n in numbers[1:]),
        *(_cells("executions", n, 50, "gpt2") for n in numbers[2:]),
        *(_cells("peers", n, 60, "gpt2") for n in numbers[1:]),
    ]


def _attention(number: int) -> Step:
    name = f"attention-{number}"
    return Step(name, 60, f"{HERE}.attention", (name, "{out}/cells.jsonl", "{small}"))


def _preset(row: str) -> str:
    return "gpt2-xl" if row == "gpu-bandwidth" else "gpt2"


def _counters(small: bool) -> list[Step]:
    """Nsight Compute on one decode step; the first calibrates as well. None to rehearse without it.

    A pass of the program is a process of some ten seconds.
    """
    if small and not runner.find():
        return []
    where = ["--model", "nano", "--P", "16", "--device", "cpu"]
    if not small:
        where = ["--model", "gpt2", "--P", "512", "--device", "cuda"]
        where += ["--weights", "{scratch}/gpt2.safetensors"]
    return [
        Step(f"ncu-{version}", limit_s, "kvbench.ncu", ("profile", *arguments, *where), ("gpt2",))
        for version, limit_s in COUNTED.items()
        for arguments in [("--version", f"{version}_decode", "--out", "{out}/ncu")]
    ]


def _pytest(small: bool) -> tuple[str, ...]:
    """Whatever a library newly warns of is in the log, and fails no test."""
    # What is compiled ahead of time needs no device.
    how = ("-v", "-p", "no:cacheprovider", "-W", "default", "-m", "gpu", "-k", "not ahead_of_time")
    processes = () if small else ("-n", str(TEST_PROCESSES))
    return (*how, *processes, "--junitxml", "{out}/gpu-tests.xml")


def _chosen(small: bool) -> tuple[str, ...]:
    return ("tests/engine/test_static_step.py",) if small else ("tests",)
