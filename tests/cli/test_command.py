"""The command: what it takes, what it says, and how every wrong word ends."""

import contextlib
import csv
import io
import json
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import yaml
from project import copy, environment

from kvbench.analysis.answers import of_preset
from kvbench.analysis.verdicts import judge
from kvbench.caches.check import check_cache
from kvbench.cli import fit as fit_command
from kvbench.cli.main import main
from kvbench.cli.run import within
from kvbench.cli.study import Asked, compose, numbers, overrides
from kvbench.costs.fit import fit
from kvbench.costs.layout import equal_rows
from kvbench.plan import estimate
from kvbench.plan.config import load_schema, resolve
from kvbench.plan.study import quality_presets
from kvbench.presets import PRESETS
from kvbench.records.gather import gather
from kvbench.records.store import write_record

PUBLISHED = "published/cpu-amd-epyc-avx2/results.jsonl"


@pytest.fixture
def say(capsys):
    """Run the command here: its exit status, what it says, and on stderr."""

    def run(*words):
        capsys.readouterr()
        status = main(list(words))
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    "words, said",
    [
        (["rnu"], "unknown command 'rnu': did you mean 'run'"),
        (["run", "int9"], "unknown cache, benchmark or study 'int9': did you mean 'int8'"),
        (["run", "latncy"], "did you mean 'latency'"),
        (["run", "--modle", "gpt2"], "--model"),
        (["run", "int8", "--model", "gpt3"], "unknown model 'gpt3': did you mean 'gpt2'"),
        (["run", "int8", "--tokens", "8,x"], "--tokens is '8,x'; allowed: whole numbers"),
        (["run", "int8", "--batch", "0"], "'batch_size"),
        (["run", "int8", "--depth", "4096"], "'decode.depths' has 4096; allowed"),
        (["run", "int8", "--budget", "soon"], "--budget is 'soon'; allowed: a time such as 90s"),
        (["run", "int8", "dense", "--budget", "1s"], "--budget holds no 2 processes of each cell"),
        (["run", "int8", "--replicates", "x"], "--replicates"),
        (["run", "--cache", "nowhere.py"], "no file 'nowhere.py'"),
        (["run", "pyproject.yaml"], "unknown study 'pyproject.yaml'"),
        (["run", "--config", "qick"], "unknown study 'qick': did you mean 'quick'"),
        (["run", "int8", "--study", "a/b"], "'study' is 'a/b'"),
        (["run", "int8", "--dtype", "int3"], "'dtype' is 'int3'"),
        (["show", "nowhere"], "no results of 'nowhere'"),
        (["compare", "int8"], "compare needs two caches"),
        (["compare", "int8", "int9"], "unknown cache 'int9'"),
        (["compare", "nowhere"], "no results of 'nowhere'"),
        (["compare", "int8", "dense", "--fail-over", "much"], "--fail-over is 'much'; allowed"),
        (["page", "qick"], "unknown study 'qick': did you mean 'quick'"),
        (["list", "cachs"], "'caches', 'models'"),
        (["list"], "Missing argument"),
        (["fit", "--model", "gpt3"], "unknown model 'gpt3'"),
        (["fit", "--memory", "much"], "--memory is 'much'; allowed"),
        (["fit", "--context", "5000"], "--context is 5000; allowed for gpt2"),
        (["fit", "--dtype", "int8"], "unknown dtype 'int8'"),
        (["new-cache", "int8"], "'int8' is a cache already"),
        (["new-cache", "a/b"], "is no name of a module"),
        (["check", "nowhere.jsonl"], "no file 'nowhere.jsonl'"),
        (["check", "nowhere.yaml"], "unknown study 'nowhere.yaml'"),
        (["publish", "nowhere", "x"], "no results of 'nowhere'"),
        (["doctor", "--seconds", "-1"], "--seconds"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_word_is_one_line_with_what_is_allowed(say, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where nothing was measured
    status, out, err = say(*words)
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and err.startswith("kvbench: ") and said in err, err


def test_help_names_every_command(say):
    for words in ([], ["--help"]):
        status, out, _ = say(*words)
        assert status == 0
        for name in ("run", "show", "compare", "page", "list", "fit", "new-cache", "doctor"):
            assert f"  {name} " in out


@pytest.mark.parametrize(
    "what, words",
    [
        ("caches", ["int8-shared", "v4", "KV-cache + INT8 + cross-layer sharing"]),
        ("models", ["gpt2-xl", "1,558 M"]),
        ("studies", ["default", "quick", "A first look"]),
        ("figures", ["tradeoff"]),
        ("targets", ["perplexity", "results/{study}/perplexity/{preset}/{version}.json"]),
    ],
)
def test_lists(say, what, words):
    status, out, _ = say("list", what)
    assert status == 0 and all(word in out for word in words)
    assert max(map(len, out.splitlines())) <= 120


def composed(*words, models=(), tokens=(), depths=(), configs=(), study=None, **more):
    asked = Asked.of(list(words))
    given = overrides(asked, list(models), list(tokens), list(depths), more)
    return compose(asked, list(configs), given, study)[0]


def test_words_name_caches_benchmarks_and_studies():
    asked = Asked.of(["v1", "int8", "latency", "quick", "results/x/figures/y.png"])
    assert asked.versions == ["v1", "int8"] and asked.studies == ["quick"]
    assert asked.targets == ["latency", "results/x/figures/y.png"]


def test_a_run_that_names_caches_measures_them_alone():
    given = composed("v1", "int8", models=["gpt2"], depths=[512], batch_size=[8])
    assert given["study"] == "run" and given["versions"] == ["v1", "int8"]
    assert given["benchmarks"] == ["decode"] and given["decode"] == {"depths": [512]}
    assert given["batch_size"] == [8]
    whole = resolve(given, load_schema())
    assert whole["pretrained"] == ["gpt2"] and whole["versions"] == ["v1", "v2"]
    real = composed("int8", models=["smollm2"])
    assert real["benchmarks"] == ["latency", "vram", "perplexity"]
    assert real["perplexity"]["presets"] == ["smollm2"]
    asked = resolve(composed("v1", "int8", "retrieval", models=["smollm2"]), load_schema())
    assert asked["benchmarks"] == ["retrieval"] and quality_presets(asked) == ["smollm2"]


def test_the_options_of_the_earlier_command_line_work():
    """`latency --version v0 v1 v2 --preset NAME --config FILE`, where v1 and v2 are words."""
    given = composed("latency", "v0", "v1", "v2", models=["gpt2-medium"], configs=["memory_study"])
    assert given["benchmarks"] == ["latency"] and given["versions"] == ["v0", "v1", "v2"]
    assert given["pretrained"] == ["gpt2-medium"] and len(given["T_values"]) > 1  # the file's
    assert composed("quick")["study"] == "quick"
    assert composed()["study"] == "default"
    assert composed("quick", "int8")["T_values"] == [8]
    assert composed("quick", "int8", study="mine")["study"] == "mine"


def test_a_list_is_parted_by_commas_or_given_one_by_one():
    assert numbers(["8,16", "32", "8"], "tokens") == [8, 16, 32]


def test_what_fits_is_the_closed_form(say):
    shape, owner, layout = PRESETS["gpt2"], range(12), equal_rows(64 * 2)
    weights, row = 124_439_808 * 2, 12 * 12 * 256
    for room in (weights - 1, weights, weights + 7 * row, weights + 2 * 1024 * row, 10**12):
        found = fit(shape, owner, "bfloat16", layout, room, 1024, 2)
        left = max(0, room - weights)
        assert found.tokens == min(1024, left // (2 * row))
        assert found.sequences == left // (1024 * row)
        assert found.fits == (2 * 1024 * row <= room - weights)
    status, out, _ = say("fit", "--model", "gpt2", "--memory", "400MB", "--batch", "8")
    settings = shlex.split(out.strip().splitlines()[-1])
    assert settings[:4] == ["snakemake", "--cores", "1", "capacity"]
    given = {k: yaml.safe_load(v) for k, v in (s.split("=", 1) for s in settings[5:])}
    assert given["prompt_length"] + given["capacity"]["T"] == 1024
    assert resolve(given, load_schema())["capacity"]["budget_mib"] == 381
    lines = {line.split()[0]: line.split() for line in out.splitlines() if "MB  " in line}
    assert status == 0 and lines["dense"][-3] == "no" and lines["int8"][-3] == "no"
    assert lines["int4"][-3] == "yes"
    assert (
        fit_command.bytes_of("8GiB") == 8 * 2**30 and fit_command.bytes_of("1.5 GB") == 15 * 10**8
    )


def test_a_new_cache_can_be_measured_as_it_is_written(say, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = say("new-cache", "my-cache")
    assert status == 0 and "kvbench check my_cache.py" in out
    assert (
        check_cache("my_cache.py") == check_cache("my_cache.py") and check_cache("my_cache.py").ok
    )
    assert not check_cache("my_cache.py").notes
    status, out, _ = say("check", "my_cache.py")
    assert status == 0 and "a cache that can be measured" in out
    assert say("new-cache", "my-cache")[0] == 2
    Path("bad.py").write_text("class KVCache: pass\n")
    status, out, _ = say("check", "bad.py")
    assert status == 1 and "problem: it is not a subclass" in out


def test_checks_records_and_studies(say, tmp_path):
    assert say("check", PUBLISHED)[:2] == (0, f"{PUBLISHED}: 45 records fit the schema\n")
    assert "a study, quick" in say("check", "quick")[1]
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text("{}\n")
    status, _, err = say("check", str(wrong))
    assert status == 1 and "line 1" in err and err.count("\n") == 1
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("T_valuse: [1]\n")
    status, _, err = say("check", str(wrong))
    assert status == 2 and "did you mean 'T_values'" in err
    for text in ("- 1\n", "a: [\n", "x: &a [*a]\n", "\x00"):
        wrong.write_text(text)
        status, _, err = say("check", str(wrong))
        assert status == 2 and err.count("\n") == 1, err


def test_ncu_is_the_package_s_own_program(say):
    status, _, _ = say("ncu", "--help")
    assert status == 0
    status, _, err = say("ncu", "nowhere.csv")
    assert status == 1 and "nowhere.csv" in err


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder with the results of study `mine`: published cells, their verdicts."""
    cells = [json.loads(line) for line in Path(PUBLISHED).read_text().splitlines()]
    folder = tmp_path / "results/mine"
    for kind, name in (("latency_vs_T", "latency"), ("vram_vs_T", "vram")):
        for cell in of_preset(cells, "gpt2", kind):
            place = f"{cell['version']}/B{cell['batch_size']}/T{cell['T']}.json"
            write_record(folder / name / "gpt2" / place, cell)
        paths = sorted((folder / name).glob("**/*.json"))
        gather(paths, folder / f"cells/{name}_gpt2.jsonl")
    verdicts = judge(of_preset(cells, "gpt2", "latency_vs_T"), 0.02)
    write_record(folder / "verdicts/gpt2.json", verdicts)
    (folder / "results.jsonl").write_text(Path(PUBLISHED).read_text())
    monkeypatch.chdir(tmp_path)
    return folder


def test_shows_what_a_study_found_in_every_form(say, results):
    status, out, _ = say("show", "mine")
    assert status == 0 and "dense is 2.29 [2.15, 2.44] times as fast as none" in out
    assert "memory of gpt2" in out and out.endswith("records: results/mine/results.jsonl\n")
    forms = {form: say("show", "mine", "--format", form)[1] for form in ("json", "jsonl", "csv")}
    rows = json.loads(forms["json"])
    assert rows == [json.loads(line) for line in forms["jsonl"].splitlines()]
    assert [row["text"] for row in csv.DictReader(io.StringIO(forms["csv"]))] == [
        row["text"] for row in rows
    ]
    assert {row["question"] for row in rows} == {"speed", "memory"}
    assert rows[0]["value"] == pytest.approx(2.29, abs=0.01) and rows[0]["T"] == 16
    assert say("show", "mine", "--format", "md")[1].startswith("| question")


def test_a_file_that_is_damaged_is_named_in_one_line(say, results):
    (results / "verdicts/gpt2.json").write_text('{"benchmark_name": ')
    for words in (["show", "mine"], ["show", "mine", "--format", "csv"]):
        status, out, err = say(*words)
        assert status == 1 or "no answers" in out
        assert "verdicts/gpt2.json" in out + err and (out + err).count("\n") == 1
    (results / "results.jsonl").write_bytes(b"\xff\x00")
    for words in (["compare", "none", "dense", "--study", "mine"], ["compare", "mine", "mine"]):
        status, _, err = say(*words)
        assert status in (1, 2) and "results.jsonl, line 1" in err and err.count("\n") == 1
    (results / "results.jsonl").unlink()
    (results / "results.jsonl").mkdir()
    status, _, err = say("compare", "mine", "mine")
    assert status == 2 and "is not there" in err


def test_compares_two_caches_and_fails_where_asked_to(say, results):
    status, out, _ = say("compare", "none", "dense", "--study", "mine")
    assert status == 0 and len(out.splitlines()) == 2
    assert "gpt2, batch 1, T 16: none is slower than dense: 0.436 [" in out
    status, _, err = say("compare", "none", "dense", "--study", "mine", "--fail-over", "5%")
    assert status == 1 and err.startswith("kvbench: none is slower than dense by more than 5 %")
    assert say("compare", "dense", "none", "--study", "mine", "--fail-over", "5%")[0] == 0


def test_compares_two_studies(say, results):
    status, out, _ = say("compare", "mine", "mine")
    assert status == 0 and out.startswith("20 cells of")
    changed = results.parent / "later/results.jsonl"
    changed.parent.mkdir()
    lines = [json.loads(line) for line in (results / "results.jsonl").read_text().splitlines()]
    for cell in lines:
        if cell["benchmark_name"] == "vram_vs_T" and cell["version"] == "v2":
            cell["peak_memory_bytes"] *= 2
    changed.write_text("".join(json.dumps(cell) + "\n" for cell in lines))
    status, out, _ = say("compare", "mine", "later")
    assert status == 0 and "vram_vs_T of v2, gpt2, batch 1, T 8: larger, the peak by 2.00" in out
    status, _, err = say("compare", "mine", "later", "--fail-over", "5%")
    assert status == 1 and "v2 of gpt2" in err


def test_publishes_a_study_once_with_how_it_was_made(say, results, tmp_path, monkeypatch):
    for part in ("Snakefile", "config/schema.yaml"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).touch()
    (results / "figures").mkdir()
    (results / "figures/latency_gpt2.png").write_bytes(b"picture")
    status, out, _ = say("publish", "mine", "here/mine")
    assert status == 0 and "45 records" in out
    into = tmp_path / "published/here/mine"
    assert (into / "figures/latency_gpt2.png").read_bytes() == b"picture"
    assert "dense is 2.29" in (into / "README.md").read_text()
    assert "--configfile config/mine.yaml" in (into / "README.md").read_text()
    assert say("publish", "mine", "here/mine")[0] == 2
    status, _, err = say("publish", "mine", "../up")
    assert status == 2 and "lies outside published/" in err
    (results / "results.jsonl").write_text("{}\n")
    assert say("publish", "mine", "other")[0] == 1 and not (tmp_path / "published/other").exists()


def test_the_doctor_says_what_is_here_and_how_quiet(say):
    status, out, _ = say("doctor", "--seconds", "0.1")
    assert status == 0
    for name in ("processor", "GPU", "compiler", "ncu", "will run", "noise", "missing"):
        assert any(line.startswith(name) for line in out.splitlines()), out


@pytest.mark.parametrize(
    "given, seconds", [("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("0.5m", 30)]
)
def test_a_budget_is_a_time(given, seconds):
    assert estimate.seconds_of(given) == seconds


@pytest.mark.parametrize("wrong", ["", "m", "-1s", "0", "1d", "nan", "inf", "5 minutes"])
def test_what_is_no_time_is_refused(wrong):
    with pytest.raises(ValueError, match="allowed: a time such as"):
        estimate.seconds_of(wrong)


def test_a_forecast_follows_what_earlier_processes_took(results):
    config = resolve({"pretrained": "gpt2", "benchmarks": ["vram"]}, load_schema(), name="mine")
    cells = estimate.cells_of(config)
    assert len(cells) == 10 and "results/mine/vram/gpt2/v2/B1/T16.json" in cells
    cell = cells["results/mine/vram/gpt2/v2/B1/T16.json"]
    by_shape = estimate.Forecast(Path("nowhere")).seconds(cell)
    assert by_shape == estimate.by_shape(cell) > estimate.START_S
    later = estimate.Forecast()  # these records were written long after they began
    assert later.seconds(cell) > 1000 * by_shape
    more = resolve({"pretrained": "gpt2", "replicates": 4}, load_schema(), name="mine")
    asked = {"benchmarks": ["retrieval"], "perplexity": {"presets": ["smollm2"]}}
    few, many = (
        estimate.by_shape(cell)
        for items in (2, 8)
        for cell in estimate.cells_of(
            resolve(asked | {"retrieval": {"items": items}}, load_schema(), name="mine")
        ).values()
        if cell.version == "v1"
    )
    assert many - estimate.START_S == pytest.approx(4 * (few - estimate.START_S))
    samples = [path for path in estimate.cells_of(more) if "/samples/latency/" in path]
    assert len(samples) == 4 * len(more["versions"]) * len(more["T_values"])


@pytest.mark.parametrize(
    "done, took, expected", [(0, 10, 90), (5, 200, 0), (10, 30, 270), (50, 25, 25), (120, 99, 0)]
)
def test_what_is_left_goes_by_the_forecast_and_then_by_the_pace(done, took, expected):
    assert estimate.left(100, done, took) == expected


@pytest.mark.parametrize("seconds, said", [(40.4, "40 s"), (380, "6 min"), (9000, "2 h 30 min")])
def test_a_time_is_said_as_people_say_it(seconds, said):
    assert estimate.words(seconds) == said


def test_a_terminal_shows_what_is_left_and_what_was_said(tmp_path, monkeypatch):
    """On a pseudo-terminal: the bar, lines that are no progress, and a failure's status."""
    program = "print('[ 1/2] made  3 s'); print('a warning'); raise SystemExit({})"
    shown = """
import sys
from kvbench.cli.errors import Failed
from kvbench.cli.progress import execute
try:
    execute([sys.executable, '-c', {program!r}], {{}}, 60.0)
except Failed as error:
    print(f'kvbench: {{error}}')
"""
    for status, words in ((0, "100 %"), (3, "kvbench: a job failed")):
        code = shown.format(program=program.format(status))
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=theirs,
            stderr=theirs,
            env=environment(tmp_path) | {"PYTHONPATH": "src", "TERM": "xterm"},
        ) as process:
            os.close(theirs)
            said = b""
            with contextlib.suppress(OSError):  # the other end is closed
                while part := os.read(ours, 4096):
                    said += part
            process.wait()
        os.close(ours)
        text = said.decode()
        assert "a warning" in text and words in text and "left" in text, text


def test_a_budget_buys_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"versions": ["v1", "v2"], "benchmarks": ["latency"], "T_values": [8]}
    config = resolve(given, load_schema())
    few, many = within(90, config), within(180, config)
    assert 2 <= few < many <= 30


STUDY = """
pretrained: null
model_config: {n_layer: 2, n_head: 2, n_embd: 32, block_size: 64, vocab_size: 128}
benchmarks: [latency]
kernel: torch
versions: [dense, int8]
T_values: [4]
energy_s: 0
replicates: 2
"""


def test_a_run_says_its_plan_measures_and_ends_with_the_answers(tmp_path):
    folder = copy(tmp_path)
    (folder / "config/own.yaml").write_text(STUDY)
    path = {"PYTHONPATH": str(folder / "src")}

    def kvbench(*words, status=0):
        done = forked.python("kvbench", *words, folder=folder, env=environment(folder) | path)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    first = kvbench("run", "own", "--dry-run").splitlines()
    assert len(first) == 1 and first[0].startswith("plan: 2 caches on custom, 4 processes")
    assert not (folder / "results").exists()
    said = kvbench("run", "own").splitlines()
    assert said[0] == first[0] and said[-1] == "records: results/own/results.jsonl"
    assert any(line.startswith("  ") and "int8" in line and "dense" in line for line in said)
    again = kvbench("run", "own").splitlines()
    assert again[0] == "plan: nothing to measure, all of study own is made"
    assert again[1:] == said[1:]
    assert kvbench("show", "own").splitlines() == again[1:]
    assert kvbench("run", "own", "--", "--list-rules", status=0)
