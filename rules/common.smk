"""The study's configuration, and the functions that rules share."""

import gc
import inspect
import re
import sys
from functools import cache, partial
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from snakemake.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import DeploymentMethod

from kvbench.benchmarks import BENCHMARKS
from kvbench.job import isolation
from kvbench.job import log as job
from kvbench.job.measure import POOLING
from kvbench.peers import PEERS
from kvbench.plan import cells, code_inputs, preflight, queue, resources, targets
from kvbench.plan.config import ConfigError, load_schema, resolve
from kvbench.plan.study import quality_presets, roofline_source, shape_of, uses_cuda
from kvbench.plan.targets import FIGURES, ROOFS, TABLES, gathered
from kvbench.presets import GGUF, HUB_PRESETS, PRESETS, tokenizer_of
from kvbench.versions import VERSIONS, cache_module

gc.set_threshold(100_000)  # planning makes millions of objects that stay: seldom look for others
ROOT = Path(workflow.basedir)
job.import_from(ROOT / "src")  # in every job, whichever copy of the package is installed
NATIVE = "resources/kernels/kvbench.so"  # the native kernels' library
if workflow.is_main_process:
    ALIVE = preflight.hold(Path(".snakemake"))  # open as long as this run lives

_files = workflow.overwrite_configfiles
try:
    config = resolve(
        dict(config),
        load_schema(),
        name=Path(_files[-1]).stem if _files else "default",
    )
    if workflow.is_main_process:
        preflight.check_dates([f"results/{config['study']}", "resources"])
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
        isolation.isolate_jobs(ROOT / "envs")
except (ConfigError, preflight.UnfitFolder, isolation.NotIsolated) as refusal:
    raise WorkflowError(str(refusal)) from None


onstart:
    try:
        preflight.check_writable(f"results/{config['study']}")
    except preflight.UnfitFolder as refusal:
        raise WorkflowError(str(refusal)) from None
    # For its limit on submissions Snakemake wakes once a second, once more for every job that has
    # ended: after a hundred jobs it takes most of a core from the job that is being measured.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


QUEUE = queue.sample_queue(config)  # every timed sample's position
NO_NATIVE = config["kernel"] == "torch" or config["execution"] == "compile" or uses_cuda(config)
SOURCE = roofline_source(config)


# On a cluster these run where Snakemake does: seconds each, and some of them need the internet.
localrules:
    fetch_raw,
    split_mini_wiki,
    fetch_wikitext,
    tokenize_text,
    fetch_hub_weights,
    convert_gguf,
    place_roofs,
    gather,
    verdicts,
    depth,
    batch,
    attribution,
    judge_controls,
    figure,
    table,
    collect_records,


# One study to a run: what a path begins with tells its rule, and no other is tried.
pathvars:
    results=f"results/{config['study']}",
    logs=f"logs/{config['study']}",


wildcard_constraints:
    figure="[a-z]+",
    table="[a-z]+",
    preset="|".join(map(re.escape, [*PRESETS, "custom"])),
    version="|".join(map(re.escape, VERSIONS)),
    control="|".join(cells.CONTROLS),
    peer="|".join(map(re.escape, PEERS)),
    mode="[a-z]+-[a-z]+",
    benchmark="[a-z]+",
    phase="prefill|decode",
    batch=r"[1-9]\d*",
    T=r"[1-9]\d*",
    depth=r"[1-9]\d*",
    P=r"[1-9]\d*",
    replicate=r"[1-9]\d*",


def cached_signature(function):
    """An input function that keeps its signature: Snakemake asks for it several times a job."""
    function.__signature__ = inspect.signature(function)
    return function


def environment(name):
    """The conda environment of jobs on torch, with the build of it for the study's device."""
    return f"../envs/{name}.{'cuda' if uses_cuda(config) else 'cpu'}.yaml"


@cache  # thousands of jobs ask, of a few dozen answers
def code(script, *modules):
    """The listing of the script and every kvbench module it can reach: an edit of one re-runs the rule."""
    find = code_inputs.write_listing if workflow.is_main_process else code_inputs.listing
    return str(find(ROOT / "scripts" / script, *modules))


def architecture(wildcards):
    """The module of the preset's architecture."""
    return f"kvbench.models.{shape_of(config, wildcards.preset)['arch']}"


def model_code(script, *modules):
    """The code of a job that runs a preset's model: the script, its architecture, and `modules`."""
    return lambda wildcards: code(script, *modules, architecture(wildcards))


@cached_signature
def weights(wildcards):
    """The weights file of the wildcards' preset and version."""
    return cells.weights_file(config, wildcards.preset, wildcards.get("version", "v1"))


def own_weights(wildcards):
    """The weights file of v1, which every version is compared with and fitted from."""
    return cells.weights_file(config, wildcards.preset)


def tokens(split):
    """The tokenised text of a preset: the split that is scored, or the one it is fitted on."""
    text = config["perplexity"]["text"]
    return lambda wildcards: f"resources/tokens/{text}.{split}.{tokenizer_of(wildcards.preset)}.npz"


@cached_signature
def measuring_threads(wildcards):
    """The cores of a measuring job: on the CPU the whole run's, on CUDA its device's share.

    On a cluster, what it uses: the scheduler sees to it that the node or the GPU is its own.
    """
    if workflow.non_local_exec:
        return config["threads"]
    return cells.measuring_threads(config, workflow.cores)


# What a measuring job claims. Memory and time are worked out for who looks at them: a cluster, a limit.
CLAIM = {"gpu": resources.gpus(config), "slurm_extra": resources.slurm_extra(config)}
if workflow.nodes is not None or {"mem_mb", "runtime"} & set(workflow.global_resources):
    CLAIM["mem_mb"] = cached_signature(lambda wildcards: resources.memory_mb(config, wildcards))
    CLAIM["runtime"] = cached_signature(lambda wildcards: resources.minutes(config, wildcards))


def measuring_code(benchmark, *modules, script="measure.py"):
    """The code of a measuring job: its benchmark, its version's cache, its preset's architecture."""
    line = BENCHMARKS[benchmark]
    modules = [f"kvbench.bench.{line.module or benchmark}", *modules]
    modules += [POOLING] if line.pooled and not targets.sampled(config, benchmark) else []

    @cached_signature
    def listing(wildcards):
        own = f"kvbench.caches.{cache_module(wildcards.get('version', 'v1'))}"
        if "peer" in wildcards.keys():
            own = f"kvbench.peers.{PEERS[wildcards.peer]['module']}"
        return code(script, *dict.fromkeys([*modules, own, architecture(wildcards)]))

    return listing


@cached_signature
def kernels(wildcards):
    """The native kernels' library, where the study or the mode may use it."""
    mode = wildcards.get("mode")
    without = NO_NATIVE if mode is None else not mode.endswith("-native")
    return [] if without else NATIVE


# What a measuring job reads besides its code, by the name that the registry calls it.
INPUTS = {
    "weights": weights,
    "kernels": kernels,
    "reference": own_weights,
    "tokens": tokens(config["perplexity"]["split"]),
}


def cell_of(benchmark):
    """The one param of a measuring job: its cell, as plain data."""

    @cached_signature
    def param(wildcards):
        where = {key: value for key, value in wildcards.items() if key != "replicate"}
        return cells.make(config, benchmark, **where).param()

    return param


def position(benchmark):
    """A sample's position in the queue, from 1; 0 for one that the study does not hold."""

    @cached_signature
    def place(wildcards):
        return QUEUE.get(queue.queue_key(benchmark, **wildcards), 0)

    return place


def priority(benchmark):
    """Priority of a sample: who stands earlier in the queue goes first."""
    place = position(benchmark)
    return cached_signature(lambda wildcards: len(QUEUE) - place(wildcards))


def figure_code(wildcards):
    """The drawing script and its family's module."""
    return code("figure.py", f"kvbench.report.figures.{wildcards.figure}")


def figure_inputs(wildcards):
    """What a figure draws."""
    return targets.figure_inputs(config, wildcards.figure, wildcards.preset)


def own_cells(wildcards):
    """Every cell of one benchmark and preset."""
    return targets.cell_paths(config, wildcards.benchmark)


def table_inputs(wildcards):
    """The cells a table lists; shares of a roof need the roofs."""
    return gathered(TABLES[wildcards.table]) + ([ROOFS] if wildcards.table == "roofline" else [])


def table_settings(wildcards):
    """The one param of a table of cells."""
    columns = BENCHMARKS[TABLES[wildcards.table]].columns
    return {"module": "kvbench.report.tables", "kind": wildcards.table, "columns": columns}


def chapter(wildcards):
    """The report's chapter of a figure or table."""
    return targets.chapter(wildcards.get("figure") or wildcards.get("table"))


def made_controls(wildcards):
    """The record of the preset's controls, once the target `controls` has made it."""
    path = f"results/{config['study']}/controls/{wildcards.preset}.json"
    return [path] if Path(path).exists() else []


def baseline(wildcards):
    """The results.jsonl that this study is compared with."""
    if config["compare"]["baseline"] is None:
        raise WorkflowError("config key 'compare.baseline' is null; give a results.jsonl")
    return config["compare"]["baseline"]


def saved_run(wildcards):
    """The output of a saved export's program, where its run.json lies beside it."""
    name = "{preset}_{version}_{phase}_B{batch}_P{P}.run.json".format(**wildcards)
    path = Path(config["roofline"]["csv_dir"]) / name
    return str(path) if path.exists() else []


def gguf(wildcards):
    """The GGUF file that a preset is converted from."""
    return f"resources/raw/{GGUF[wildcards.preset]}"


def ranks(wildcards):
    """The file of a tokenizer's merges: GPT-2's own, or converted with the model it belongs to."""
    if wildcards.tokenizer in GGUF:
        return f"resources/tokenizers/{wildcards.tokenizer}.tiktoken"
    return "resources/raw/gpt2.tiktoken"


def training_job(wildcards):
    """How nano is trained with a layer map."""
    return cells.training_job(config, wildcards.variant, wildcards.map)


def sharing_job(wildcards):
    """The shape, and the layer map that its weights are fitted to."""
    job = {"shape": SHAPES[wildcards.preset], "seed": config["seed"]}
    asked = {key: wildcards[key] for key in ("variant", "map") if key in wildcards.keys()}
    return job | asked


def going_on_from(wildcards):
    """Nano's own weights, where training goes on from them."""
    return cells.weights_file(config, "nano") if wildcards.variant == "uptrained" else []
