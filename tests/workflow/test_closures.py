"""What an edit of a module would re-run: the jobs whose code it is, held against a table.

A job runs again when its listing changes, and that changes with the files it lists alone; so one
dry run, which writes every listing, tells of every edit. `test_rerun` edits files and plans again.
"""

import re

import pytest
from project import copy, snakemake

from kvbench.benchmarks import BENCHMARKS
from kvbench.versions import VERSIONS as REGISTRY
from kvbench.versions import cache_module, weights_variant

VERSIONS = [version for version in REGISTRY if weights_variant(version) is None]
STORAGES = {cache_module(version) for version in VERSIONS}
BENCHES = {line.module or name for name, line in BENCHMARKS.items() if name != "peers"}
STUDY = f"""
versions: [{", ".join(VERSIONS)}]
pretrained: [gpt2, smollm2]
benchmarks: [latency, vram, phase, perplexity, roofline, decode]
weights: {{nano: random}}
device: cpu
prompt_length: 4
replicates: 2
"""
DESCRIBED = STORAGES - {"none", "dense"}
# Modules of caches/ that storages share -> the storages that import them.
SHARED_CACHES = {
    "rows": STORAGES - {"none"},
    "sdpa": STORAGES,
    **dict.fromkeys(("attending", "by_layer", "codecs", "coded"), DESCRIBED),
}
COMPARED_THROUGH = {"none", "dense", "rows"}  # by every perplexity cell
SCORED = STORAGES - {"none"}  # v0's perplexity has v1's listing: it loads the same modules


@pytest.fixture(scope="module")
def listings(tmp_path_factory):
    """The files of every listing, by its name."""
    folder = copy(tmp_path_factory.mktemp("project"))
    (folder / "config/every.yaml").write_text(STUDY)
    snakemake(folder, "--dry-run", "all", "--configfile", "config/every.yaml")
    return {
        path.stem: {line.split("  ")[1] for line in path.read_text().splitlines()}
        for path in (folder / ".snakemake/code").glob("*.sha256")
    }


def edited(listings, module):
    """The listings that an edit of a module changes."""
    return {name for name, files in listings.items() if f"src/kvbench/{module}.py" in files}


def measured(names):
    """(module of kvbench.bench, storage) of measuring jobs."""
    pattern = r"measure\.bench\.(?!peers)((?:quality\.)?\w+)\..*?(?:caches\.(?!.*caches)(\w+))"
    return {match.groups() for name in names if (match := re.match(pattern, name))}


def modules(folder):
    from project import ROOT

    return sorted(path.stem for path in (ROOT / "src/kvbench" / folder).glob("[a-z]*.py"))


def test_every_benchmark_and_storage_is_planned(listings):
    timed = {(bench, storage) for bench in BENCHES for storage in STORAGES}
    assert measured(listings) == timed - {("quality.perplexity", "none")}


@pytest.mark.parametrize("name", modules("caches"))
def test_a_storage_re_runs_the_versions_that_store_so(listings, name):
    found = measured(edited(listings, f"caches/{name}"))
    storages = {storage for bench, storage in found if bench != "quality.perplexity"}
    assert storages - {name} == SHARED_CACHES.get(name, set()) - {name}
    scored = {storage for bench, storage in found if bench == "quality.perplexity"}
    assert scored == (SCORED if name in COMPARED_THROUGH else storages & SCORED)


@pytest.mark.parametrize("name", modules("kernels/triton"))
def test_a_kernel_of_gpus_re_runs_nothing_on_a_cpu(listings, name):
    assert not edited(listings, f"kernels/triton/{name}")


@pytest.mark.parametrize("name", ["plan/code_inputs", "plan/cells", "benchmarks", "versions"])
def test_planning_re_runs_nothing(listings, name):
    assert not edited(listings, name)


@pytest.mark.parametrize("name", modules("kernels/cpu"))
def test_a_kernel_of_cpus_re_runs_measurements_and_draws_nothing(listings, name):
    found = edited(listings, f"kernels/cpu/{name}")
    assert measured(found) == measured(listings)
    assert not [name for name in found if name.startswith(("figure", "analyse", "gather"))]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_an_architecture_re_runs_its_presets(listings, name):
    found = edited(listings, f"models/{name}")
    assert found and all(f"models.{name}" in listing for listing in found if "peers" not in listing)


@pytest.mark.parametrize("name", modules("report/figures"))
def test_a_figure_re_draws_itself(listings, name):
    found = edited(listings, f"report/figures/{name}")
    assert all(listing.startswith("figure.report.figures.") for listing in found)
    drawn = {listing.split(".")[-1] for listing in found}
    if name in drawn:  # a family, not a helper of several
        assert drawn <= {name, "tradeoff"}
