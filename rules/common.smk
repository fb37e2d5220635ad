"""The study's configuration, and the functions that rules share."""

import gc
import inspect
import re
import sys
from functools import cache

import yaml

sys.path.insert(0, str(ROOT / "src"))

from snakemake.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import DeploymentMethod

from kvbench.plan import cells, code_inputs as codedeps, resources as demand, preflight as runlock
from kvbench.plan import target_check
from kvbench.records import schema
from kvbench.job import isolation, log as job
from kvbench.plan.config import ConfigError, check_written, load_schema, resolve
from kvbench.peers import PEERS
from kvbench.presets import GGUF, HUB_PRESETS, PRESETS, tokenizer_of
from kvbench.plan.study import quality_presets, shape_of, uses_cuda
from kvbench.job.timed import POOLING
from kvbench.versions import VERSIONS, cache_module

gc.set_threshold(100_000)  # planning makes millions of objects that stay: seldom look for others
job.import_from(ROOT / "src")  # in every job, whichever copy of the package is installed
NATIVE = "resources/kernels/kvbench.so"  # the native kernels' library
if workflow.is_main_process:
    try:
        runlock.check_name(ROOT)
        runlock.check_room(Path(".snakemake"))
    except runlock.UnfitFolder as refusal:
        sys.exit(str(refusal))  # the line alone: a WorkflowError would print where it was raised
    ALIVE = runlock.hold(Path(".snakemake"))  # open as long as this run lives

_files = workflow.overwrite_configfiles
try:
    for _file in _files or [ROOT / "config/config.yaml"]:
        check_written(_file)
    config = resolve(
        dict(config),
        load_schema(),
        name=Path(_files[-1]).stem if _files else "default",
    )
    if workflow.is_main_process:
        runlock.check_dates([f"results/{config['study']}", "resources"])
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
        isolation.isolate_jobs(ROOT / "envs")
except (ConfigError, runlock.UnfitFolder, isolation.NotIsolated) as refusal:
    sys.exit(str(refusal))


onstart:
    check_folder()
    # For its limit on submissions Snakemake wakes once a second, once more for every job that has
    # ended: after a hundred jobs it takes most of a core from the job that is being measured.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


ARCHITECTURES = [
    f"kvbench.models.{arch}" for arch in dict.fromkeys(p["arch"] for p in PRESETS.values())
]
DENSE = "kvbench.caches.dense"
SCORED = quality_presets(config)  # presets whose perplexity means something
LINE = cells.line(config)  # every timed sample's place in line
CONTROLS = cells.control_study(config)
MODES = cells.execution_study(config)
NO_NATIVE = config["kernel"] == "torch" or config["execution"] == "compile" or uses_cuda(config)
KERNELS = [] if NO_NATIVE else NATIVE  # what jobs on a CPU may use
ALONE = config["replicates"] == 1  # cells of one process: what times it writes the cell
POOLED_HERE = [POOLING] if ALONE else []
APART = ("dispatch", "peers", "executions")  # not in the tables of cells


# On a cluster these run where Snakemake does: seconds each, and some of them need the internet.
localrules:
    fetch_raw,
    split_mini_wiki,
    fetch_wikitext,
    tokenize_text,
    fetch_hub_weights,
    convert_gguf,
    pool_control,
    judge_controls,
    place_roofs,
    gather,
    verdicts,
    depth,
    batch,
    attribution,
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
    stepped="|".join(cells.STEPPED),
    phase="prefill|decode",
    batch=r"[1-9]\d*",
    T=r"[1-9]\d*",
    depth=r"[1-9]\d*",
    P=r"[1-9]\d*",
    replicate=r"[1-9]\d*",


def check_folder():
    """Refuse a run, though not a dry run, that could not write its results."""
    try:
        runlock.check_writable(f"results/{config['study']}")
    except runlock.UnfitFolder as refusal:
        raise WorkflowError(str(refusal)) from None


def offered():
    """The paths that come near a misspelt target: figures, tables, and this study's cells."""
    kinds = (
        ("figures", FIGURES, ("svg", "png")),
        ("tables", (*TABLES, *WORKED_OUT), ("md", "csv")),
    )
    for folder, names, endings in kinds:
        parts = {"name": names, "preset": dict.fromkeys([*PRESETS, "custom"]), "ext": endings}
        yield from collect(
            f"results/{config['study']}/{folder}/{{name}}_{{preset}}.{{ext}}", **parts
        )
    yield from (path.replace("<results>", f"results/{config['study']}") for path in every_cell())


def check_asked():
    """Refuse a target that makes nothing; where this is another workflow's module, targets are its own."""
    if workflow.is_main_process and os.path.realpath(workflow.main_snakefile) == str(
        ROOT / "Snakefile"
    ):
        try:
            asked = target_check.asked_for()
            target_check.check_targets(asked, workflow.rules, config, offered())
            if config["compare"]["baseline"] and any("compare" in target for target in asked):
                schema.check_file(config["compare"]["baseline"])  # before anything is measured
        except (target_check.NoSuchTarget, schema.NotARecord) as refusal:
            sys.exit(str(refusal))


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
    find = codedeps.write_listing if workflow.is_main_process else codedeps.listing
    return str(find(ROOT / "scripts" / script, *modules))


def one_of(listings, ask):
    """An input function that gives a job its listing of these, by what `ask` says of its wildcards."""

    @once
    def listing(wildcards):
        return listings[ask(wildcards)]

    return listing


def once(function):
    """An input function that keeps its signature: Snakemake asks for it several times a job."""
    function.__signature__ = inspect.signature(function)
    return function


def measured_code(script, *modules, version=None):
    """The code of a measuring job: the script's, its version's cache and its preset's architecture."""
    listings = {
        (name, arch): code(script, f"kvbench.caches.{cache_module(name)}", arch, *modules)
        for name in ([version] if version else VERSIONS)
        for arch in ARCHITECTURES
    }
    return one_of(listings, lambda w: (version or w.version, architecture(w)))


def timed(cell):
    """Where a timed process writes: its sample of the cell, or the cell where it is alone."""
    return f"<results>/{cell}.json" if ALONE else f"<results>/samples/{cell}/r{{replicate}}.json"


def timed_log(cell):
    """The log of a timed process."""
    return f"<logs>/{cell}.log" if ALONE else f"<logs>/{cell}.r{{replicate}}.log"


def architecture(wildcards):
    """The module of the preset's architecture."""
    return f"kvbench.models.{shape_of(config, wildcards.preset)['arch']}"


def fitting_code(script):
    """The code that fits weights of a preset's architecture to a layer map."""
    listings = {arch: code(script, "kvbench.caches.none", arch) for arch in ARCHITECTURES}
    return one_of(listings, architecture)


def weights_code():
    """What random weights are drawn by: the script, and the preset's architecture."""
    listings = {arch: code("make_random_weights.py", arch) for arch in ARCHITECTURES}
    return one_of(listings, architecture)


def gguf(wildcards):
    """The GGUF file that a preset is converted from."""
    return f"resources/raw/{GGUF[wildcards.preset]}"


def ranks(wildcards):
    """The file of a tokenizer's merges: GPT-2's own, or converted with the model it belongs to."""
    if wildcards.tokenizer in GGUF:
        return f"resources/tokenizers/{wildcards.tokenizer}.tiktoken"
    return "resources/raw/gpt2.tiktoken"


def cell(benchmark=None):
    """The one param of a measuring job: its cell, as plain data."""

    @once
    def told(wildcards):
        return cells.cell(config, benchmark or wildcards.stepped, **wildcards)

    return told


@once
def measuring_threads(wildcards):
    """The cores of a measuring job: on the CPU the whole run's, on CUDA its device's share.

    On a cluster, what it uses: the scheduler sees to it that the node or the GPU is its own.
    """
    if workflow.non_local_exec:
        return config["threads"]
    return cells.measuring_threads(config, workflow.cores)


@once
def memory_mb(wildcards):
    """Memory that a scheduler is asked for, in MB."""
    return demand.memory_mb(config, wildcards)


@once
def minutes(wildcards):
    """Time that a scheduler is asked for."""
    return demand.minutes(config, wildcards)


# What a measuring job claims. Memory and time are worked out for who looks at them: a cluster, a limit.
CLAIM = {"gpu": demand.gpus(config), "slurm_extra": demand.slurm_extra(config)}
if workflow.nodes is not None or {"mem_mb", "runtime"} & set(workflow.global_resources):
    CLAIM |= {"mem_mb": memory_mb, "runtime": minutes}


@once
def weights(wildcards):
    """The weights file of the wildcards' preset and version."""
    return cells.weights_file(config, wildcards.preset, wildcards.get("version", "v1"))


def own_weights(wildcards):
    """The weights file of v1, which every version is compared with and fitted from."""
    return cells.weights_file(config, wildcards.preset)


@once
def stepped_weights(wildcards):
    """The weights file of a decode cell; a tiny model of random numbers needs none."""
    return [] if wildcards.stepped == "dispatch" else weights(wildcards)


def tokens(wildcards):
    """The tokenised text that a preset is scored on."""
    text, split = config["perplexity"]["text"], config["perplexity"]["split"]
    return f"resources/tokens/{text}.{split}.{tokenizer_of(wildcards.preset)}.npz"


def way_kernels(wildcards):
    """The native kernels' library, for a way to run a step that needs it."""
    return NATIVE if wildcards.mode.endswith("-native") else []


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


def calibration_tokens(wildcards):
    """The tokenised text that a preset's sharing is fitted on: never the scored split."""
    text = config["perplexity"]["text"]
    return f"resources/tokens/{text}.train.{tokenizer_of(wildcards.preset)}.npz"


@once
def place(wildcards):
    """A sample's place in line, from 1; 0 for one that the study does not hold."""
    return LINE.get(cells.turn(**{"replicate": "1", **wildcards}), 0)


@once
def turn(wildcards):
    """Priority of a sample: who stands earlier in line goes first."""
    return len(LINE) - place(wildcards)


def control_cell(wildcards):
    """The cell of one control."""
    return cells.control(config, **wildcards)


def peer_cell(wildcards):
    """The cell of one peer."""
    return cells.peer(config, **wildcards)


def peer_code():
    """The code of a peer's job: its module, and v1's, whose tokens it is held to."""
    listings = {
        (peer, arch): code("measure_peer.py", f"kvbench.peers.{about['module']}", DENSE, arch)
        for peer, about in PEERS.items()
        for arch in ARCHITECTURES
    }
    return one_of(listings, lambda w: (w.peer, architecture(w)))


def execution_cell(wildcards):
    """The cell of one version under one execution and kernel."""
    return cells.execution(config, **wildcards)


def gathered(*benchmarks):
    """The files that hold a preset's cells of these benchmarks."""
    return [f"<results>/cells/{benchmark}_{{preset}}.jsonl" for benchmark in benchmarks]


# What each figure draws: the benchmarks whose cells it reads.
FIGURES = {
    "latency": ["latency"],
    "speedup": ["latency"],
    "vram": ["vram"],
    "phase": ["phase"],
    "perplexity": ["perplexity"],
    "degradation": ["perplexity"],
    "tradeoff": ["latency", "perplexity"],
    "roofline": ["roofline"],
    "decode": ["decode"],
    "attribution": ["decode"],
    "peers": ["peers"],
    "executions": ["executions"],
}


# What some figures read beside their cells.
ROOFS = "<results>/roofline/roofs.json"
BESIDE = {
    "roofline": [ROOFS],
    "speedup": ["<results>/verdicts/{preset}.json"],
    "decode": ["<results>/verdicts/{preset}.json"],
    "peers": gathered("latency"),
    "attribution": [*gathered("dispatch"), ROOFS],
}


# Second tables of one benchmark's cells.
TABLE_OF = {"energy": "latency"}


# Further tables, and the benchmarks that each is worked out from.
WORKED_OUT = {
    "verdicts": ["latency", "decode"],
    "depth": ["latency", "decode"],
    "batch": ["decode"],
    "attribution": ["decode"],
}


# The report's chapters, in the order that its menu sorts them.
CHAPTERS = {
    "1 Speed": ["speedup", "latency", "verdicts", "depth"],
    "2 Depth and batch": ["decode", "attribution", "batch"],
    "3 Memory": ["vram", "capacity"],
    "4 Phases": ["phase"],
    "5 Quality": ["tradeoff", "perplexity", "degradation"],
    "6 Roofline": ["roofline"],
    "7 Energy": ["energy"],
}


def chapter(wildcards):
    """The report's chapter of a figure or table."""
    shown = wildcards.get("figure") or wildcards.get("table")
    return next((name for name, kinds in CHAPTERS.items() if shown in kinds), "8 Other")


def presets_of(benchmark):
    """The presets a benchmark of this study measures; none where the study leaves it out."""
    if benchmark == "dispatch":
        benchmark = "decode"  # one does not go without the other
    if benchmark not in config["benchmarks"]:
        return []
    return SCORED if benchmark == "perplexity" else config["pretrained"]


def figure_code():
    """The drawing script and its family's module."""
    listings = {name: code("figure.py", f"kvbench.report.figures.{name}") for name in FIGURES}
    return one_of(listings, lambda w: w.figure)


def own_cells(wildcards):
    """Every cell of one benchmark and preset."""
    return CELLS[wildcards.benchmark]


def figure_cells(wildcards):
    """What a figure draws: the cells of those benchmarks that measure its preset, and what is beside."""
    drawn = [b for b in FIGURES[wildcards.figure] if wildcards.preset in presets_of(b)]
    return gathered(*(drawn or FIGURES[wildcards.figure][:1])) + BESIDE.get(wildcards.figure, [])


def table_cells(wildcards):
    """The cells a table lists; shares of a roof need the roofs."""
    return gathered(TABLE_OF.get(wildcards.table, wildcards.table)) + (
        [ROOFS] if wildcards.table == "roofline" else []
    )


def made_controls(wildcards):
    """The record of the preset's controls, once the target `controls` has made it."""
    path = f"results/{config['study']}/controls/{wildcards.preset}.json"
    return [path] if Path(path).exists() else []


def kept_run(wildcards):
    """What a saved export's program said, where its run.json was brought along."""
    name = "{preset}_{version}_{phase}_B{batch}_P{P}.run.json".format(**wildcards)
    path = Path(config["roofline"]["csv_dir"]) / name
    return str(path) if path.exists() else []


def compared_cells():
    """The cells that are compared with another study's."""
    return [
        path.format(preset=preset)
        for benchmark in ("latency", "decode", "vram")
        for preset in presets_of(benchmark)
        for path in gathered(benchmark)
    ]


def baseline(wildcards):
    """The results.jsonl that this study is compared with."""
    if config["compare"]["baseline"] is None:
        raise WorkflowError("config key 'compare.baseline' is null; give a results.jsonl")
    return config["compare"]["baseline"]


def own_roofs(wildcards):
    """This machine's roofs, where the study measures them."""
    measures = {"roofline", "decode"} & set(config["benchmarks"])
    return [ROOFS] if measures else []


def timed_cells(wildcards):
    """The cells that versions are judged on: latency and decode, where the study measures them."""
    judged = [b for b in ("latency", "decode") if b in config["benchmarks"]]
    return gathered(*(judged or ["latency"]))


def every_figure(benchmark=None):
    """SVG and PNG of every figure that draws `benchmark` alone (default: all figures)."""
    names = [
        f"{figure}_{preset}"
        for figure, drawn in FIGURES.items()
        for preset in dict.fromkeys(preset for b in drawn for preset in presets_of(b))
        if benchmark is None or drawn == [benchmark]
    ]
    path = "<results>/figures/{name}.{ext}"
    return collect(path, name=names, ext=["svg", "png"])


def every_table(benchmark=None):
    """Markdown and CSV of every table of `benchmark` (default: any)."""
    tables = {**{kind: [TABLE_OF.get(kind, kind)] for kind in TABLES}, **WORKED_OUT}
    names = [
        f"{table}_{preset}"
        for table, drawn in tables.items()
        for preset in dict.fromkeys(preset for b in drawn for preset in presets_of(b))
        if benchmark is None or benchmark in drawn
    ]
    path = "<results>/tables/{name}.{ext}"
    return collect(path, name=names, ext=["md", "csv"])


def shown(benchmark):
    """Every figure and table of one benchmark."""
    return every_figure(benchmark) + every_table(benchmark)


def every_cell():
    """Every cell of the study, for the JSON lines."""
    return [
        path.format(preset=preset)
        for benchmark, paths in CELLS.items()
        for preset in presets_of(benchmark)
        for path in paths
    ]
