"""Every command that README and the docs print, in an empty copy of the project: it is understood.

Snakemake plans (`--dry-run`), make says what it would do, our own programs show their help or read
a published file. Commands of other programs are left out by name.
"""

import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec

import forked
import pytest
from project import ROOT, copy, environment

from kvbench.cli.caches import BEGINNING

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")),
]
OTHERS = ("docker", "pip", "pre-commit", "chromium", "hf", "ncu", "METRICS=$(python")
# What is no plan of an empty clone, and why.
LEFT_OUT = {
    "--report": "a report is of results",
    "config/ten_thousand.yaml": "planned by `make bench ROWS='plan-*'`, a minute of it",
    "FILE": "a place for a name",
    "prefill": "the benchmark that a recipe adds",
}


def commands(page):
    """The commands of a page: lines after a `$`, and what stands as one in the text."""
    text = (ROOT / page).read_text()
    joined = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"^\$ (.*?)(?:\s{2,}#.*|\s+\.\.\.)?$", joined, re.M)
    found += re.findall(r"`((?:snakemake --cores|make|python -m) [^`]*)`", joined)
    found += re.findall(r"`(kvbench [a-z-]+ [^`A-Z]*)`", joined)
    return [command.strip() for command in found]


EVERY = list(dict.fromkeys(command for page in PAGES for command in commands(page)))
SNAKEMAKE = [command for command in EVERY if command.startswith("snakemake")]
MAKE = [command for command in EVERY if command.startswith("make")]
PYTHON = [command for command in EVERY if command.startswith("python")]
KVBENCH = [command for command in EVERY if re.match(r"(\.venv/bin/)?kvbench ", command)]


def test_every_command_is_of_a_known_kind():
    assert len(SNAKEMAKE) > 25 and len(MAKE) > 4 and len(PYTHON) > 4
    assert len(KVBENCH) > 15
    rest = [c for c in EVERY if c not in {*SNAKEMAKE, *MAKE, *PYTHON, *KVBENCH}]
    assert all(command.startswith(OTHERS) for command in rest), rest


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A copy with what the commands name: published studies, a folder of exports."""
    folder = copy(tmp_path_factory.mktemp("empty"))
    for published in {*re.findall(r"published/[\w-]+", "\n".join(EVERY))}:
        (folder / published).mkdir(parents=True)
        shutil.copy(ROOT / published / "results.jsonl", folder / published)
    (folder / "mine").mkdir()
    exports = [
        f"gpt2_v{n}_{phase}_B1_P512.csv" for n in range(5) for phase in ("prefill", "decode")
    ]
    for name in exports:
        (folder / "mine" / name).touch()
    shutil.copy(ROOT / "published/h200-9653dcf/roofline/roofs.json", folder / "mine")
    shutil.copy(ROOT / "Makefile", folder)
    return folder


def run(command, folder, env, scripts=True):
    """A command to its end, a module of Python's in a fork; its scripts too, if `scripts`."""
    if command[:2] == (sys.executable, "-m"):
        return forked.python(*command[2:], folder=folder, env=env, scripts=scripts)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)


def said(folder, *command, code=0, scripts=True):
    done = run(command, folder, environment(folder), scripts)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def forget(folder):
    """What Snakemake knew of a folder, but for what was parsed, which is kept by content."""
    shutil.rmtree(folder / ".snakemake/metadata", ignore_errors=True)
    for path in (folder / ".snakemake/code").glob("*.sha256"):
        path.unlink()


@pytest.mark.parametrize("command", SNAKEMAKE)
def test_snakemake_plans_it_at_once(empty, command):
    for word, why in LEFT_OUT.items():
        if word in command:
            pytest.skip(why)
    words = shlex.split(command)
    if "conda" in words and not shutil.which("conda"):
        pytest.skip("needs conda")
    if "profiles/slurm" in words and not find_spec("snakemake_executor_plugin_slurm"):
        pytest.skip("needs Snakemake's plugin for Slurm")
    if "--default-resources" in words:
        words = words[: words.index("--default-resources")]
    forget(empty)
    ask = [sys.executable, "-m", "snakemake", *words[1:], "--dry-run"]
    if "source: ncu" in command and not shutil.which("ncu"):
        assert "there is no ncu on PATH" in said(empty, *ask, code=1)
    elif words[-1] == "compare":
        assert "'compare.baseline' is null" in said(empty, *ask, code=1)
    elif "--dag" in words or "--rulegraph" in words:
        assert re.search(r"digraph|flowchart|mermaid", said(empty, *ask))
    else:
        assert "This was a dry-run" in said(empty, *ask)


SMALL = ["versions=[v0,v1]", "T_values=[2]", "T_star=2", "prompt_length=4", "replicates=1"]
SMALL += ["num_measure_runs=1", "num_warmup_runs=0", "energy_s=0", "kernel=torch"]


@pytest.mark.parametrize(
    "command, made",
    [
        (SNAKEMAKE[0], ["figures/latency_gpt2.png"]),
        (SNAKEMAKE[-1], ["results.jsonl", "tables/vram_gpt2.md", "figures/vram_gpt2.svg"]),
    ],
)
def test_the_first_and_the_last_command_are_run_for_real(clone, command, made):
    """On a study made small by options, in a clone in which nothing was made before the first."""
    more = [*SMALL, "benchmarks=[vram]"] if " all" in command else SMALL
    assert "--config" not in command
    words = ["-m", *shlex.split(command), "--config", *more, "device=cpu"]
    said(clone, sys.executable, *words, scripts=False)
    for name in made:
        assert (clone / "results/default" / name).stat().st_size > 500


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return copy(tmp_path_factory.mktemp("clone"))


@pytest.mark.parametrize("command", MAKE)
def test_make_knows_it(empty, command):
    words = [word for word in shlex.split(command) if not word.endswith("=...")]
    assert said(empty, words[0], "--dry-run", "--assume-old=.venv/.ready", *words[1:]).strip()


@pytest.mark.parametrize("command", KVBENCH)
def test_the_command_takes_it(empty, command):
    """What needs results that an empty clone lacks says so in one line."""
    words = [word for word in shlex.split(command)[1:] if word != "..."]
    again = {"run": ["--dry-run"], "doctor": ["--seconds", "0"], "page": ["--help"]}
    words += again.get(words[0], [])
    if words[0] == "list" and len(words) == 1:
        words.append("caches")
    (empty / "my_cache.py").unlink(missing_ok=True)
    if words[0] != "new-cache":
        (empty / "my_cache.py").write_text(BEGINNING.format(title="mine"))
    forget(empty)
    path = {"PYTHONPATH": str(empty / "src")}
    done = forked.python("kvbench", *words, folder=empty, env=environment(empty) | path)
    if words[0] in ("show", "compare") and "published" not in command:
        assert done.returncode == 2 and "no results" in done.stderr and done.stderr.count("\n") == 1
    else:
        assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.parametrize("command", PYTHON)
def test_our_own_programs_take_it(command, tmp_path):
    words = shlex.split(command)
    program, options = words[1:3], words[3:]
    if words[1] != "-m":
        program, options = words[1:2], words[2:]
    if "kvbench.records.schema" in program:
        options = ["published/cpu-amd-epyc-avx2/results.jsonl"]
    elif "kvbench.versions" in program or "--list" in options:
        pass
    elif "kvbench.ncu" in program and options[:1] not in (["profile"], ["metrics"]):
        options = ["--help"]
    elif options[:1] in (["profile"], ["metrics"]):
        options = [options[0], "--help"]
    else:
        options = ["--help"]
    env = environment(tmp_path) | {"PYTHONPATH": "src"}
    done = run((sys.executable, *program, *options), ROOT, env)
    assert done.returncode == 0, done.stdout + done.stderr
