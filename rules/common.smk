"""The study's configuration, and the functions that rules share."""

import gc
import inspect
import re
import sys
import time
from functools import cache

import yaml

sys.path.insert(0, str(ROOT / "src"))

from snakemake_interface_executor_plugins.settings import DeploymentMethod

from kvbench.benchmarks import BENCHMARKS
from kvbench.job import isolation, terminal
from kvbench.job.log import import_from
from kvbench.job.measure import POOLING
from kvbench.models import hf_files
from kvbench.peers import PEERS
from kvbench.plan import (
    cells,
    code_inputs,
    own_caches,
    preflight,
    queue,
    resources,
    rounds,
    targets,
    weight_paths,
)
from kvbench.plan.config import ConfigError, check_written, load_schema, resolve
from kvbench.plan.study import (
    known_presets,
    quality_presets,
    roofline_source,
    shape_of,
    tokenizer_for,
    uses_cuda,
)
from kvbench.plan.targets import FIGURES, ROOFS, TABLES, gathered
from kvbench.presets import GGUF, HUB_PRESETS, PRESETS
from kvbench.versions import VERSIONS, cache_module

BEGAN = time.time()
gc.set_threshold(100_000)  # planning makes millions of objects that stay: seldom look for others
import_from(ROOT / "src")  # in every job, whichever copy of the package is installed
NATIVE = "resources/kernels/kvbench.so"  # the native kernels' library
if workflow.is_main_process:
    try:
        preflight.check_name(ROOT)
        preflight.check_room(Path(".snakemake"))
    except preflight.FolderError as refusal:
        sys.exit(str(refusal))  # the line alone: a WorkflowError would print where it was raised
    ALIVE = preflight.hold(Path(".snakemake"))  # open as long as this run lives
    terminal.quieten(workflow.output_settings, workflow.dryrun)

_files = workflow.overwrite_configfiles
try:
    for _file in _files or [ROOT / "config/config.yaml"]:
        check_written(_file)
except ConfigError as refusal:
    sys.exit(str(refusal))

# A study is one config file: defaults come from the schema, never from another study's file.
if not _files:

    configfile: str(ROOT / "config/config.yaml")


try:
    _name = Path(_files[-1]).stem if _files else "default"
    own_caches.register(config)
    config = resolve(dict(config), load_schema(), name=_name)
    config["replicates"], MORE = rounds.decided(config, workflow.is_main_process)
    if workflow.is_main_process:
        preflight.check_dates([f"results/{config['study']}", "resources"])
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
        isolation.isolate_jobs(ROOT / "envs")
except (ConfigError, preflight.FolderError, isolation.IsolationError) as refusal:
    sys.exit(str(refusal))


ARCHITECTURES = [
    f"kvbench.models.{arch}" for arch in dict.fromkeys(shape["arch"] for shape in PRESETS.values())
]
QUEUE = queue.sample_queue(config)  # every timed sample's position
NO_NATIVE = config["kernel"] == "torch" or config["execution"] == "compile" or uses_cuda(config)
SOURCE = roofline_source(config)


# What a measuring job loads by name for the device it runs on.
KERNEL_CODE = [f"kvbench.kernels.cpu.{name}" for name in ("library", "memory_account")]
KERNEL_CODE += ["kvbench.engine.native_step"]
if uses_cuda(config):
    KERNEL_CODE = ["kvbench.engine.tuning"]


# One study to a run: what a path begins with tells its rule, and no other is tried.
pathvars:
    results=f"results/{config['study']}",
    logs=f"logs/{config['study']}",


wildcard_constraints:
    figure="[a-z]+",
    table="[a-z]+",
    preset="|".join(map(re.escape, known_presets(config))),
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


def own(path):
    """A file of the project's own, from the folder that Snakemake works in."""
    return os.path.relpath(path)


@cache  # thousands of jobs ask, of a few dozen answers
def code(script, *modules):
    """The listing of the script and every kvbench module it can reach: an edit of one re-runs the rule.

    Rules ask for all that they may need when they are read: Snakemake sees no file that is written while
    it plans.
    """
    find = code_inputs.write_listing if workflow.is_main_process else code_inputs.listing
    return str(find(ROOT / "scripts" / script, *modules))


def architecture(wildcards):
    """The module of the preset's architecture."""
    return f"kvbench.models.{shape_of(config, wildcards.preset)['arch']}"


def one_of(listings, ask):
    """An input function that gives a job its listing of these, by what `ask` says of its wildcards."""

    @cached_signature
    def listing(wildcards):
        return listings[ask(wildcards)]

    return listing


def model_code(script, *modules):
    """The code of a job that runs a preset's model: the script, its architecture, and `modules`."""
    return one_of({arch: code(script, *modules, arch) for arch in ARCHITECTURES}, architecture)


@cached_signature
def measuring_threads(wildcards):
    """The cores of a measuring job: on the CPU the whole run's, on CUDA its device's share.

    On a cluster, what it uses: the scheduler sees to it that the node or the GPU is its own.
    """
    if workflow.non_local_exec:
        return config["threads"]
    return resources.measuring_threads(config, workflow.cores)


# What a measuring job claims. Memory and time are worked out for who looks at them: a cluster, a limit.
CLAIM = {"gpu": resources.gpus(config), "slurm_extra": resources.slurm_extra(config)}
if workflow.nodes is not None or {"mem_mb", "runtime"} & set(workflow.global_resources):
    CLAIM["mem_mb"] = cached_signature(lambda wildcards: resources.memory_mb(config, wildcards))
    CLAIM["runtime"] = cached_signature(lambda wildcards: resources.minutes(config, wildcards))
