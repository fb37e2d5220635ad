"""What an edit re-runs, shown by dry runs on a copy in which everything was already made."""

import re
import shutil
from pathlib import Path

import pytest
from project import ROOT, copy, snakemake

from kvbench.records.store import write_record


def planned(folder, *arguments):
    """The outputs that a run would make, from a dry run."""
    said = snakemake(folder, "--dry-run", *(arguments or ("all",)))
    return sorted(
        path for line in re.findall(r"^    output: (.*)$", said, re.M) for path in line.split(", ")
    )


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A copy of the project in which every output exists, with the metadata of a finished run."""
    folder = copy(tmp_path_factory.mktemp("made"))
    for path in planned(folder):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("" if path.endswith(".jsonl") else "made\n")
    write_record(folder / "results/default/verdicts/gpt2.json", {})  # a plan looks for its rounds
    snakemake(folder, "--touch", "--forceall", "all")
    return folder


@pytest.fixture
def project(made, tmp_path):
    """A copy of its own for each test: the edit of one is not seen by the next."""
    return Path(shutil.copytree(made, tmp_path / "project", symlinks=True))


def edit(project, path, old, new):
    text = (project / path).read_text()
    assert old in text
    (project / path).write_text(text.replace(old, new, 1))


def append(project, path, text="\nADDED = 1\n"):
    with open(project / path, "a") as file:
        file.write(text)


def cells(outputs):
    """Which versions were measured again: the version folder of every sample and cell."""
    measured = [o for o in outputs if o.endswith(".json") and "roofs" not in o]
    return {match[0] for o in measured if (match := re.search(r"v\d+", o))}


def test_nothing_is_planned_when_all_is_made(project):
    assert planned(project) == []


def test_touching_or_checking_out_again_re_runs_nothing(project):
    for path in [*project.rglob("*.py"), *project.rglob("*.yaml"), *project.rglob("*.smk")]:
        path.touch()
    assert planned(project) == []


def test_a_figure_module_re_draws_its_figures(project):
    append(project, "src/kvbench/report/figures/vram.py")
    assert planned(project) == [f"results/default/figures/vram_gpt2.{e}" for e in ("png", "svg")]


@pytest.mark.parametrize("part", ["plots/cost.py", "page.css", "study.html"])
def test_a_part_of_the_page_writes_the_page_alone(project, part):
    append(project, f"src/kvbench/report/page/{part}")
    assert planned(project) == ["results/default/report.html"]


def test_a_benchmark_module_re_runs_its_cells_and_what_shows_them(project):
    append(project, "src/kvbench/bench/vram.py")
    outputs = planned(project)
    kinds = {path.removeprefix("results/default/").split("/")[0] for path in outputs}
    assert kinds == {"vram", "cells", "figures", "tables", "results.jsonl", "report.html"}
    assert cells(outputs) == {"v0", "v1", "v2", "v3", "v4"}
    assert {p for p in outputs if "/figures/" in p or "/tables/" in p} == {
        f"results/default/{where}/vram_gpt2.{ext}"
        for where, ext in (
            ("figures", "svg"),
            ("figures", "png"),
            ("tables", "md"),
            ("tables", "csv"),
        )
    }


def test_the_module_of_codes_re_runs_the_versions_that_store_them(project):
    append(project, "src/kvbench/caches/coded.py")
    assert cells(planned(project)) == {"v2", "v4"}


@pytest.mark.parametrize("module", ["none", "dense"])
def test_the_caches_that_perplexity_compares_with_re_run_it(project, module):
    append(project, f"src/kvbench/caches/{module}.py")
    scored = [path for path in planned(project) if "/perplexity/" in path]
    assert cells(scored) == {"v0", "v1", "v2", "v3", "v4"}


def test_the_flags_of_v2_re_run_v2(project):
    edit(
        project,
        "src/kvbench/versions.py",
        '"use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": False',
        '"use_cache": True, "kv_cache_quant": True, "cross_layer_sharing": True',
    )
    assert cells(planned(project)) == {"v2"}


def test_an_edit_taken_back_re_runs_nothing(project):
    path = project / "src/kvbench/records/store.py"  # which everything reaches
    text = path.read_text()
    append(project, "src/kvbench/records/store.py")
    assert "results/default/results.jsonl" in planned(project)
    path.write_text(text)
    assert planned(project) == []


def test_a_cell_of_one_replicate_is_written_by_what_measures_it(project):
    outputs = planned(project, "latency", "--configfile", "config/quick.yaml")
    assert "results/quick/latency/nano/v1/B1/T8.json" in outputs
    assert not [path for path in outputs if "/samples/latency/" in path]


def test_a_comment_in_the_registries_re_runs_nothing(project):
    append(project, "src/kvbench/versions.py", "\n# a comment\n")
    append(project, "src/kvbench/presets.py", "\n# a comment\n")
    assert planned(project) == []


def recipe(kind):
    """The code of one of README's recipes, block by block."""
    text = (ROOT / "README.md").read_text()
    section = text[text.index(f"**A {kind}.**") :]
    section = section[: section.index("\n**A ", 1)]
    return re.findall(r"```python\n(.*?)```", section, re.S)


def register(project, path, opening, entry):
    """Write an entry into a registry, as its first."""
    edit(project, path, opening, f"{opening}{entry}")


def test_a_new_version_measures_itself_alone(project):
    shutil.copy(project / "src/kvbench/caches/dense.py", project / "src/kvbench/caches/mine.py")
    opening = "VERSIONS: dict[str, Version] = {\n"
    register(project, "src/kvbench/versions.py", opening, *recipe("version"))
    assert planned(project) == []
    edit(project, "config/config.yaml", "v3, v4]", "v3, v4, v99]")
    outputs = planned(project)
    assert cells(outputs) == {"v99"}
    assert not [path for path in outputs if path.startswith("resources/")]


def test_a_new_preset_measures_itself_alone(project):
    opening = "PRESETS: dict[str, Shape] = {\n"
    register(project, "src/kvbench/presets.py", opening, *recipe("preset"))
    assert planned(project) == []
    outputs = planned(project, "latency", "--config", "pretrained=[gpt2,gpt2-small]")
    assert outputs and all("gpt2-small" in path for path in outputs)


def test_a_new_benchmark_is_measured_alone_and_has_its_table(project):
    module, entry = recipe("benchmark")
    (project / "src/kvbench/bench/prefill.py").write_text(module)
    opening = "BENCHMARKS: dict[str, Benchmark] = {\n"
    register(project, "src/kvbench/benchmarks.py", opening, entry)
    assert planned(project) == []
    (project / "config/mine.yaml").write_text(
        """
pretrained: null
model_config: {n_layer: 2, n_head: 2, n_embd: 32, block_size: 64, vocab_size: 128}
benchmarks: [prefill]
kernel: torch
versions: [v0, v2]
perplexity: {presets: []}
device: cpu
"""
    )
    snakemake(project, "all", "--configfile", "config/mine.yaml")
    table = (project / "results/mine/tables/prefill_custom.csv").read_text().splitlines()
    assert table[0] == "version,batch_size,prefill_ms_median"
    assert [row.split(",")[0] for row in table[1:]] == ["v0", "v2"]
    with open(project / "results/mine/results.jsonl") as lines:
        assert len([line for line in lines if '"benchmark_name": "prefill"' in line]) == 2


def test_a_new_length_measures_itself_alone(project):
    edit(project, "config/config.yaml", "T_values: [16, 128]", "T_values: [16, 48, 128]")
    made = [path for path in planned(project) if path.endswith(".json")]
    measured = [path for path in made if path != "results/default/verdicts/gpt2.json"]
    assert measured and all("/T48" in path for path in measured)


def test_a_new_margin_judges_again_and_measures_nothing(project):
    outputs = planned(project, "all", "--config", "margin=0.05")
    assert {path.removeprefix("results/default/").rsplit(".", 1)[0] for path in outputs} == {
        "verdicts/gpt2",
        "tables/verdicts_gpt2",
        "figures/speedup_gpt2",
        "figures/decode_gpt2",
        "report",
    }


def test_controls_are_measured_when_asked_for_and_not_before(project):
    assert not [path for path in planned(project, "all", "--forceall") if "control" in path]
    samples = [path for path in planned(project, "controls") if "/samples/" in path]
    assert len(samples) == 30 and all("/samples/controls/gpt2/v1" in path for path in samples)
    (project / "results/default/controls").mkdir()
    (project / "results/default/controls/gpt2.json").write_text("made\n")
    assert "results/default/tables/verdicts_gpt2.md" in planned(project)


def test_a_map_of_batch_and_depth_needs_its_steps_their_dispatch_and_the_roofs(project):
    outputs = planned(project, "decode", "dispatch", "--configfile", "config/depth_batch.yaml")
    results = [path.removeprefix("results/depth_batch/") for path in outputs if "results/" in path]
    kinds = {path.split("/")[0] for path in results}
    made = {"samples", "decode", "dispatch", "roofline", "verdicts", "cells", "figures", "tables"}
    assert kinds == made
    dispatched = [path for path in results if path.startswith("dispatch/")]
    assert dispatched and all("/B1/" in path for path in dispatched)  # one batch serves all


def test_a_comparison_needs_something_to_compare_with(project):
    said = snakemake(project, "compare", check=False)
    assert "config key 'compare.baseline' is null" in said and "Job stats" not in said
    published = ROOT / "published/cpu-amd-epyc-avx2/results.jsonl"
    shutil.copy(published, project / "old.jsonl")
    outputs = planned(project, "compare", "--config", "compare={baseline: old.jsonl}")
    assert {path.removeprefix("results/default/").split("/")[0] for path in outputs} == {
        "compare",
        "tables",
    }


def test_one_figure_makes_only_what_it_needs(project):
    shutil.rmtree(project / "results")
    outputs = planned(project, "results/default/figures/latency_gpt2.png")
    kinds = {path.removeprefix("results/default/").split("/")[0] for path in outputs}
    assert kinds == {"samples", "latency", "cells", "figures"}


def test_memory_is_worked_out_where_it_is_limited(project):
    cell = ("--dry-run", "--force", "results/default/vram/gpt2/v1/B1/T8.json")
    assert "mem_mb" not in snakemake(project, *cell)
    assert re.search(r"mem_mb=\d{4}", snakemake(project, *cell, "--resources", "mem_mb=9000"))


def test_overrides_on_the_command_line(project):
    outputs = planned(project, "all", "--config", "versions=[v0,v1]", "T_values=[4,12]")
    assert {re.search(r"/T(\d+)", p)[1] for p in outputs if "/T" in p} == {"4", "12"}


@pytest.mark.parametrize(
    "setting,line",
    [
        ("T_valuse=[4]", "did you mean 'T_values'?"),
        ("versions=[v99]", "allowed: v0, v1, v2, v3, v4"),
        ("T_values=[0]", "allowed: whole numbers from 1"),
    ],
)
def test_a_wrong_setting_is_refused_before_any_job(project, setting, line):
    said = snakemake(project, "all", "--config", setting, check=False)
    assert line in said and "Job stats" not in said and "Traceback" not in said


def test_two_studies_never_share_a_result(project):
    (project / "config/mine.yaml").write_text("versions: [v1]\n")
    outputs = planned(project, "all", "--configfile", "config/mine.yaml")
    results = [path for path in outputs if path.startswith("results/")]
    assert results and all(path.startswith("results/mine/") for path in results)
