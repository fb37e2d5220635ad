"""What rules ask of a job's wildcards: code, inputs, params and priorities."""


def storage(wildcards):
    """What a measuring job loads by name: its version's cache, or its peer."""
    if "peer" in wildcards.keys():
        return f"kvbench.peers.{PEERS[wildcards.peer]['module']}"
    return own_caches.source(cache_module(wildcards.get("version", "v1")))


def measuring_code(benchmark, *modules, script="measure.py"):
    """The code of a measuring job: its benchmark, its version's cache, its preset's architecture."""
    line = BENCHMARKS[benchmark]
    modules = [f"kvbench.bench.{line.module or benchmark}", *modules, *KERNEL_CODE]
    modules += [POOLING] if line.pooled and not targets.sampled(config, benchmark) else []
    stored = {own_caches.source(cache_module(version)) for version in VERSIONS}
    if "{peer}" in line.path:
        stored = {f"kvbench.peers.{about['module']}" for about in PEERS.values()}
    listings = {
        (own, arch): code(script, *dict.fromkeys([*modules, own, arch]))
        for own in stored
        for arch in ARCHITECTURES
    }
    return one_of(listings, lambda wildcards: (storage(wildcards), architecture(wildcards)))


@cached_signature
def kernels(wildcards):
    """The native kernels' library, where the study or the mode may use it."""
    mode = wildcards.get("mode")
    without = NO_NATIVE if mode is None else not mode.endswith("-native")
    return [] if without else NATIVE


def weights_files(preset, version="v1"):
    """The weights file of a preset and version, or every file of its directory."""
    path = cells.weights_file(config, preset, version)
    return hf_files.files(path) if preset in config["models"] and Path(path).is_dir() else path


@cached_signature
def weights(wildcards):
    """The weights of the wildcards' preset and version."""
    return weights_files(wildcards.preset, wildcards.get("version", "v1"))


def own_weights(wildcards):
    """The weights of v1, which every version is compared with and fitted from."""
    return weights_files(wildcards.preset)


def tokens(split):
    """The tokenised text of a preset: the split that is scored, or the one it is fitted on."""
    text = config["perplexity"]["text"]
    return (
        lambda wildcards: f"resources/tokens/{text}.{split}.{tokenizer_for(config, wildcards.preset)}.npz"
    )


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


def gguf(wildcards):
    """The GGUF file that a preset is converted from."""
    return f"resources/raw/{GGUF[wildcards.preset]}"


def ranks(wildcards):
    """The file of a tokenizer: GPT-2's merges, or what its model's directory or GGUF file holds."""
    if wildcards.tokenizer in config["models"]:
        return config["models"][wildcards.tokenizer]["tokenizer"]
    if wildcards.tokenizer in GGUF:
        return f"resources/tokenizers/{wildcards.tokenizer}.tiktoken"
    return "resources/raw/gpt2.tiktoken"


def saved_run(wildcards):
    """The output of a saved export's program, where its run.json lies beside it."""
    name = "{preset}_{version}_{phase}_B{batch}_P{P}.run.json".format(**wildcards)
    path = Path(config["roofline"]["csv_dir"]) / name
    return str(path) if path.exists() else []


def baseline(wildcards):
    """The results.jsonl that this study is compared with."""
    if config["compare"]["baseline"] is None:
        raise WorkflowError("config key 'compare.baseline' is null; give a results.jsonl")
    return config["compare"]["baseline"]


def made_controls(wildcards):
    """The record of the preset's controls, once the target `controls` has made it."""
    path = f"results/{config['study']}/controls/{wildcards.preset}.json"
    return [path] if Path(path).exists() else []


def figure_code():
    """The drawing script and its family's module."""
    listings = {name: code("figure.py", f"kvbench.report.figures.{name}") for name in FIGURES}
    return one_of(listings, lambda wildcards: wildcards.figure)


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
