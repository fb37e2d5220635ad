"""The library: what `import kvbench` gives, how soon, and what it says of a wrong word."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch

import kvbench
from kvbench import versions
from kvbench.analysis.verdicts import judge
from kvbench.engine.generate import generate
from kvbench.records.store import RecordError

PUBLISHED = "published/cpu-amd-epyc-avx2/results.jsonl"
RECORDS = [json.loads(line) for line in Path(PUBLISHED).read_text().splitlines()]


@pytest.fixture(scope="module")
def results():
    return kvbench.read_results(PUBLISHED)


def test_the_import_loads_nothing_heavy_and_gives_every_name():
    program = (
        "import sys, kvbench; "
        "print([m for m in ('torch', 'pandas', 'numpy', 'yaml', 'typer') if m in sys.modules]); "
        "print(all(callable(getattr(kvbench, name)) for name in kvbench.__all__)); "
        "print('torch' in sys.modules, kvbench.__version__, {*kvbench.__all__} <= {*dir(kvbench)})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.splitlines() == ["[]", "True", f"False {kvbench.__version__} True"]
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        kvbench.lode  # noqa: B018
    assert files("kvbench").joinpath("py.typed").is_file()


@pytest.mark.parametrize("version", ["dense", "int8", "v3"])
def test_a_loaded_model_generates_as_the_version_does(version):
    loaded = kvbench.load("nano", version, "float32")
    number = versions.version_of(version)
    assert (loaded.version, loaded.name) == (number, versions.NAMES[number])
    model, _ = versions.load_model_for_version(number, "nano", "float32")
    prompt = torch.tensor([[5, 6, 7]], device=model.lm_head.weight.device)
    expected = generate(model, prompt, 4)
    for given in ([5, 6, 7], [[5, 6, 7]], prompt, prompt[0]):
        assert torch.equal(loaded.generate(given, 4), expected)
    cache = loaded.new_cache(1, 64)
    assert torch.equal(loaded.generate([5, 6, 7], 4, cache=cache), expected)
    assert cache.used_bytes() == 6 * loaded.bytes_per_token  # the last token is not stored
    drawn = [loaded.generate([5], 8, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    "prompt, words",
    [([], "not empty"), ([[[1]]], "(1, 1, 1)"), ([1, 8192], "8192.*0 to 8191"), ([-1], "-1")],
)
def test_a_prompt_that_no_model_can_read_is_refused(prompt, words):
    loaded = kvbench.load("nano", "none", "float32")
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        loaded.generate(prompt, 1)


def test_an_unknown_word_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'int9'.*by name none, dense, int8"):
        kvbench.load("nano", "int9")
    with pytest.raises(ValueError, match="'gpt3'.*gpt2, gpt2-medium"):
        kvbench.load("gpt3")


def test_every_benchmark_is_a_frame_of_its_cells(results):
    assert list(results) == ["latency", "vram", "phase", "perplexity", "roofline", "runs"]
    for name, kind in (("latency", "latency_vs_T"), ("vram", "vram_vs_T"), ("phase", "phase")):
        cells = [record for record in RECORDS if record["benchmark_name"] == kind]
        frame = getattr(results, name)
        assert frame is results[name] and len(frame) == len(cells)
        assert list(frame["version"]) == [cell["version"] for cell in cells]
        assert list(frame["model"]) == [cell["pretrained"] for cell in cells]
    row = results.latency.query("version == 'v2' and T == 16").iloc[0]
    cell = next(r for r in RECORDS if (r["version"], r.get("T")) == ("v2", 16))
    assert row["cache"] == "int8" and row["total_ms"] == cell["time_total_ms_median"]
    assert not any(isinstance(value, dict | list) for value in row)


def test_every_timed_run_is_a_row(results):
    cells = [r for r in RECORDS if r["benchmark_name"] == "latency_vs_T"]
    times = [run["time_total_ms"] for c in cells for p in c["processes"] for run in p["runs"]]
    assert list(results.runs["time_ms"]) == times
    assert (results.runs["reference_ms"] > 0).all()


def test_several_studies_and_a_folder_of_one_are_read(results, tmp_path):
    both = kvbench.read_results(PUBLISHED, Path(PUBLISHED).parent / "depth_batch")
    assert len(both.latency) == len(results.latency) and len(both.decode) > 20
    with pytest.raises(FileNotFoundError, match="kvbench run"):
        kvbench.read_results(tmp_path)
    (tmp_path / "results.jsonl").write_text('{"benchmark_name": "phase"}\n')
    with pytest.raises(RecordError, match="line 1"):
        kvbench.read_results(tmp_path)


def test_a_comparison_is_the_verdict_of_one_pair(results):
    found = kvbench.compare(results.latency, "int8", "dense", T=16)
    pair = [r for r in RECORDS if r.get("T") == 16 and r["benchmark_name"] == "latency_vs_T"]
    whole = judge([r for r in RECORDS if r["benchmark_name"] == "latency_vs_T"], 0.02)
    row = next(r for r in whole["rows"] if (r["version"], r["T"]) == ("v2", 16))
    assert found.value == row["speedup"] and found.word == "inconclusive"
    assert found.level == 0.95 < whole["level"]
    assert row["speedup_low"] < found.low < found.value < found.high < row["speedup_high"]
    rows = results.latency[results.latency["T"] == 16]
    assert len(rows) == len(pair)
    back = kvbench.compare(rows, "v1", "v2")
    assert back.value == pytest.approx(1 / found.value)
    assert str(found).startswith("no difference in speed shown between int8 and dense: 0.99 [")


def test_every_comparison_of_the_table_is_a_row(results):
    found = kvbench.verdicts(results.latency)
    whole = judge([r for r in RECORDS if r["benchmark_name"] == "latency_vs_T"], 0.02)
    assert list(found["speedup"]) == [row["speedup"] for row in whole["rows"]]
    assert list(found["cache"][:4]) == ["dense", "int8", "dense-shared", "int8-shared"]


@pytest.mark.parametrize(
    "ask, words",
    [
        (lambda r: kvbench.compare(r.latency, "int8", "dense"), "2 places.*T=8|16"),
        (lambda r: kvbench.compare(r.latency, "int9", "dense"), "'int9'.*int8 .v2."),
        (lambda r: kvbench.compare(r.latency, "int8", "v2"), "are one version"),
        (lambda r: kvbench.compare(r.latency, "int8", "dense", T=9), "T=9; there are: 8, 16"),
        (lambda r: kvbench.compare(r.vram, "int8", "dense"), "no timed cells"),
        (
            lambda r: kvbench.compare(r.latency.merge(r.vram, on="version"), "int8", "dense"),
            "no records behind it|no timed cells",
        ),
        (
            lambda r: kvbench.compare(r.latency[r.latency["version"] == "v1"], "v2", "v1"),
            "no cell of 'v2'; there are: dense",
        ),
    ],
)
def test_what_cannot_be_compared_is_said_with_what_there_is(results, ask, words):
    with pytest.raises(ValueError, match=words):
        ask(results)


def test_a_place_of_another_name_is_refused(results):
    with pytest.raises(TypeError, match="model, batch_size, T, depth as places, not 'depht'"):
        kvbench.compare(results.latency, "int8", "dense", depht=3)
    with pytest.raises(KeyError, match="there are: latency"):
        results["latncy"]
    with pytest.raises(AttributeError, match="there are: latency"):
        results.latncy  # noqa: B018
