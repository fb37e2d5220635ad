"""What measuring jobs are given: their code, their files, their cell and its place in the queue."""


def storage(wildcards):
    """What a measuring job loads by name: its version's cache, or its peer."""
    if "peer" in wildcards.keys():
        return f"kvbench.peers.{PEERS[wildcards.peer]['module']}"
    return own_caches.source(cache_module(wildcards.get("version", "v1")))


def measuring_code(benchmark, *modules, script="measure.py"):
    """The code of a measuring job: its benchmark, its version's cache, its preset's architecture."""
    line = BENCHMARKS[benchmark]
    modules = [f"kvbench.bench.{line.module or benchmark}", *modules, *KERNEL_CODE]
    pools = script == "measure.py" and line.pooled and not targets.sampled(config, benchmark)
    modules += [POOLING] if pools else []
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
    path = weight_paths.weights_file(config, preset, version)
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


@cached_signature
def retrieval_tasks(wildcards):
    """The retrieval tasks of a preset's tokenizer."""
    lengths = "-".join(map(str, config["retrieval"]["lengths"]))
    made = f"{lengths}.n{config['retrieval']['items']}.s{config['seed']}"
    return f"resources/retrieval/{tokenizer_for(config, wildcards.preset)}.{made}.npz"


# What a measuring job reads besides its code, by the name that the registry calls it.
INPUTS = {
    "weights": weights,
    "kernels": kernels,
    "reference": own_weights,
    "tokens": tokens(config["perplexity"]["split"]),
    "tasks": retrieval_tasks,
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
