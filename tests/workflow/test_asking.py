"""What people ask Snakemake for, and from where: made at once, or refused in one line."""

import shutil

import pytest
from project import copy, snakemake, toy

from kvbench.plan.config import load_schema, resolve
from kvbench.plan.target_check import TargetError, check_targets
from kvbench.records.store import read_record

STUDY = ("--configfile", "config/toy.yaml")
CELL = "results/toy/vram/custom/v1/B1/T4.json"


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A copy in which nothing was made and nothing planned; the folder of Snakemake is removed."""
    return copy(tmp_path_factory.mktemp("empty"))


def ask(folder, *arguments):
    """What a dry run says, as the first of this folder."""
    shutil.rmtree(folder / ".snakemake", ignore_errors=True)
    return snakemake(folder, "--dry-run", *arguments, check=False)


@pytest.mark.parametrize(
    "target",
    [
        "figures/latency_gpt2.png",
        "tables/peers_gpt2.csv",
        "tables/controls_gpt2.md",
        "perplexity/smollm2/v9.json",
        "latency/nano/v14/B3/T5.json",
    ],
)
def test_any_file_is_planned_in_an_empty_clone_at_once(empty, target):
    said = ask(empty, f"results/default/{target}")
    assert "This was a dry-run" in said and "Exception" not in said, said


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["results/default/figures/latnecy_gpt2.png"], ["figures/latency_gpt2.png"]),
        (["results/default/latency/gpt2/v99/B1/T128.json"], ["latency/gpt2/v4/B1/T128.json"]),
        (["all", "--forcerun", "latncy"], ["'latency'"]),
        (["verdicts"], ["results/default/verdicts/{preset}.json"]),
        (["vram", "--config", "benchmarks=[latency]"], ["'benchmarks'", "add vram"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_a_target_that_makes_nothing_is_refused_in_one_line(empty, arguments, words):
    said = ask(empty, *arguments)
    lines = [line for line in said.splitlines() if "config file" not in line.lower()]
    refusal = lines[-1]
    assert all(word in refusal for word in words), said
    assert len([line for line in lines if not line.startswith("Using ")]) == 1, said


class Rule:
    """What the check asks of a rule of Snakemake's."""

    def __init__(self, name, output=()):
        self.name, self.output = name, output

    def has_wildcards(self):
        return any("{" in path for path in self.output)

    def is_producer(self, path):
        return path in self.output


@pytest.mark.parametrize(
    "target, given, words",
    [
        ("latncy", {}, ["'latency'"]),
        ("results/mine/figures/latency_gtp2.png", {}, ["figures/latency_gpt2.png"]),
        ("results/mine/latency/gpt2/int8/B1/T8.json", {}, ["mine/latency/gpt2/v2/B1/T8.json"]),
        ("results/mine/roofline/gpt2/int8_decode/B1/P8.json", {}, ["gpt2/v2_decode/B1/P8.json"]),
        ("results/quick/figures/latency_nano.png", {}, ["'quick'", "'mine'", "--configfile"]),
        ("/nowhere/at/all.png", {}, ["'/nowhere/at/all.png'", "within"]),
        ("nothing like it", {}, ["'nothing like it'", "--list-target-rules"]),
        ("decode", {}, ["'benchmarks'", "add decode"]),
        ("tables", {"benchmarks": []}, ["'benchmarks' is []"]),
        ("perplexity", {"perplexity": {"presets": []}}, ["perplexity.presets"]),
        ("layers", {"perplexity": {"presets": []}}, ["perplexity.presets"]),
        ("peers", {"peers": []}, ["'peers' is empty"]),
        ("executions", {"versions": ["v0"]}, ["'versions'", "cache"]),
        ("compare", {}, ["'compare.baseline' is null"]),
        ("compare", {"benchmarks": ["phase"], "compare": {"baseline": "Makefile"}}, ["latency"]),
    ],
)
def test_what_a_target_lacks_is_said(target, given, words):
    names = ["latency", "decode", "perplexity", "tables", "layers", "peers", "executions"]
    figure = "results/mine/figures/latency_gpt2.png"
    rules = [*map(Rule, [*names, "compare"]), Rule("figure", [figure])]
    config = resolve({"study": "mine", **given}, load_schema())
    with pytest.raises(TargetError) as refusal:
        check_targets([target], rules, config, [figure])
    assert all(word in str(refusal.value) for word in words) and "\n" not in str(refusal.value)
    check_targets([figure, "README.md"], rules, config, [], others=["figure", "decode"])


def made(folder):
    return read_record(folder / CELL)["T"] == 4


@pytest.fixture
def places(tmp_path):
    """The toy study in `kvbench`, and another folder that has its weights."""
    for name in ("kvbench", "elsewhere"):
        (tmp_path / name).mkdir()
    toy(tmp_path / "kvbench")
    shutil.copy(tmp_path / "kvbench/toy.safetensors", tmp_path / "elsewhere")
    return tmp_path


@pytest.mark.parametrize(
    "snakefile", ["../kvbench/Snakefile", "{}/kvbench/Snakefile", "link", "../folder/Snakefile"]
)
def test_results_lie_where_snakemake_is_called(places, snakefile):
    elsewhere = places / "elsewhere"
    (elsewhere / "link").symlink_to("../kvbench/Snakefile")
    (places / "folder").symlink_to("kvbench")
    which = ("--snakefile", snakefile.format(places))
    snakemake(elsewhere, CELL, *which, "--configfile", "../kvbench/config/toy.yaml")
    assert made(elsewhere) and not (places / "kvbench/results").exists()


def test_results_lie_in_the_directory_asked_for(places):
    project = places / "kvbench"
    snakemake(project, CELL, *STUDY, "--directory", "../elsewhere")
    assert made(places / "elsewhere") and not (project / "results").exists()
    there = read_record(places / "elsewhere" / CELL)["provenance"]
    snakemake(project, CELL, *STUDY)
    assert read_record(project / CELL)["provenance"]["key"] == there["key"]


def test_another_workflow_may_take_this_one_as_a_module(places):
    elsewhere = places / "elsewhere"
    (elsewhere / "Snakefile").write_text(
        f"""
module kvbench:
    snakefile: "../kvbench/Snakefile"
    config: config
use rule * from kvbench as kvbench_*
rule mine:
    default_target: True
    input: "{CELL}"
"""
    )
    study = (places / "kvbench/config/toy.yaml").read_text()
    (elsewhere / "mine.yaml").write_text(f"study: toy\n{study}")
    snakemake(elsewhere, "--configfile", "mine.yaml")
    assert made(elsewhere)


def test_paths_of_a_study_count_from_where_snakemake_works(places):
    elsewhere, other = places / "elsewhere", places / "other"
    other.mkdir()
    shutil.copy(places / "kvbench/config/toy.yaml", other / "mine.yaml")
    arguments = (
        "vram",
        "--snakefile",
        "../kvbench/Snakefile",
        "--configfile",
        "../other/mine.yaml",
    )
    assert "This was a dry-run" in ask(elsewhere, *arguments)
    (elsewhere / "toy.safetensors").rename(other / "toy.safetensors")
    assert "config key 'weights' is 'toy.safetensors'" in ask(elsewhere, *arguments)


def test_a_folder_with_braces_is_refused_in_one_line(tmp_path):
    folder = tmp_path / "br{a}ce"
    folder.mkdir()
    said = ask(copy(folder), "latency")
    assert said.splitlines()[-1].endswith(
        "has a brace in its path, a wildcard to Snakemake: rename it"
    )
