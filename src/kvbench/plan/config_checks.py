"""What no single configuration key can show: keys that only make sense, or exist, together.

Light, as `kvbench.plan.config`, which calls it: the Snakefile imports both.
"""

from __future__ import annotations

from itertools import product

from kvbench.analysis.datasheet import read_roofs
from kvbench.benchmarks import BENCHMARKS
from kvbench.files.foreign import FormatError
from kvbench.inputs.vocabularies import VOCABULARIES
from kvbench.job.devices import DeviceError, names
from kvbench.ncu import runner
from kvbench.plan.config_types import Config
from kvbench.plan.file_checks import check_caches, check_log_file, is_file
from kvbench.plan.model_checks import check_models, check_sharing
from kvbench.plan.refusal import ConfigError
from kvbench.plan.study import for_preset, quality_presets, shape_of, tokenizer_for, uses_cuda

MOST_SAMPLES = 200_000  # timed processes of one study: an hour of planning, months of measuring
PROBE_TOKENS = 20  # of the shortest probe of the perplexity benchmark


def check_together(config: Config) -> None:
    """What no single key can show."""
    _check_size(config)
    check_caches(config["caches"])
    check_log_file(config["log_file"], config["compare"]["baseline"])
    _check_execution(config)
    check_sharing(config)
    baseline = config["compare"]["baseline"]
    if baseline is not None and not is_file(baseline):
        raise ConfigError(
            f"config key 'compare.baseline' is {baseline!r}; allowed: null or an existing file"
        )
    if config["dtype"] == "float16" and not uses_cuda(config):
        raise ConfigError(
            "config key 'dtype' is float16, which needs a GPU: a CPU multiplies float16 matrices "
            "many times slower than float32; allowed here: float32, bfloat16"
        )
    custom = config["model_config"]
    if custom["n_embd"] % custom["n_head"]:
        raise ConfigError(
            f"config key 'model_config.n_embd' is {custom['n_embd']}; "
            f"allowed: multiples of n_head, {custom['n_head']}"
        )
    if config["devices"] != [0] and uses_cuda(config):
        try:
            names(config["devices"])
        except DeviceError as error:
            raise ConfigError(f"config key 'devices' is {config['devices']}; {error}") from None
    if config["top_k"] is not None and config["temperature"] == 0:
        raise ConfigError("config key 'top_k' needs a temperature above 0; temperature 0 is greedy")
    check_models(config)
    if "roofline" in config["benchmarks"]:
        for preset in config["pretrained"]:
            block_size = shape_of(config, preset)["block_size"]
            if config["roofline"]["P"] >= block_size:
                raise ConfigError(
                    f"config key 'roofline.P' is {config['roofline']['P']}; allowed: whole numbers "
                    f"below {block_size}, the block_size of {preset}"
                )
        _check_roofline_source(config)
    if "decode" in config["benchmarks"]:
        for preset in config["pretrained"]:
            _check_depths(config, preset)
    for preset in dict.fromkeys([*config["perplexity"]["presets"], *quality_presets(config)]):
        context = for_preset(config["perplexity"]["context"], preset)
        block_size = shape_of(config, preset)["block_size"]
        ids = VOCABULARIES.get(tokenizer_for(config, preset), 0)  # a model's own are seen later
        size = shape_of(config, preset)["vocab_size"]
        scored = [name for name in config["benchmarks"] if BENCHMARKS[name].scored]
        if scored and size < ids:
            raise ConfigError(
                f"config key 'benchmarks' has {scored[0]}, but {preset} has {size:,} embeddings "
                f"and its tokenizer {ids:,} ids; leave {scored[0]} out, or give weights for those "
                "ids"
            )
        if context is not None and context > block_size:
            raise ConfigError(
                f"config key 'perplexity.context' is {context}; allowed: whole numbers from 2 to "
                f"{block_size}, the block_size of {preset}, or null"
            )
        if "perplexity" in config["benchmarks"]:
            _check_windows(config, preset, context or block_size, block_size)
        longest = max(config["retrieval"]["lengths"])
        if "retrieval" in config["benchmarks"] and longest > block_size:
            raise ConfigError(
                f"config key 'retrieval.lengths' has {longest}; allowed: whole numbers from 256 to "
                f"{block_size}, the block_size of {preset}"
            )
    if "retrieval" in config["benchmarks"] and "v1" not in config["versions"]:
        raise ConfigError(
            "config key 'benchmarks' has retrieval, which pairs every version with v1, but "
            "'versions' lacks v1: add it, or leave retrieval out"
        )


def _check_windows(config: Config, preset: str, context: int, block_size: int) -> None:
    """Windows that hold a prompt to diverge on, and a block_size that holds the probes."""
    prompt = config["perplexity"]["divergence"]["prompt_tokens"]
    if prompt > context:
        raise ConfigError(
            f"config key 'perplexity.divergence.prompt_tokens' is {prompt}; allowed: whole numbers "
            f"from 1 to {context}, the perplexity.context of {preset}"
        )
    if block_size < PROBE_TOKENS:
        raise ConfigError(
            f"config key 'benchmarks' has perplexity, but {preset} has a block_size of "
            f"{block_size}; its probes need {PROBE_TOKENS}"
        )


def _check_size(config: Config) -> None:
    """No more timed processes than can be planned."""
    places = len(config["pretrained"]) * len(config["batch_size"])
    lengths = len(config["T_values"]) + len(config["decode"]["depths"])
    runners = len(config["versions"]) + len(config["peers"])
    stopping = config["stopping"]
    further = stopping["most"] if stopping["half_width"] or stopping["minutes"] else 0
    samples = places * lengths * runners * max(config["replicates"], further)
    if samples > MOST_SAMPLES:
        raise ConfigError(
            "config keys 'pretrained', 'versions', 'batch_size', 'T_values', 'decode.depths' and "
            f"'replicates' ask for {samples} timed processes; allowed: {MOST_SAMPLES} in one study"
        )
    controls = config["controls"]
    samples = len(controls["batch_size"]) * len(controls["T"]) * controls["replicates"]
    if samples > MOST_SAMPLES:
        raise ConfigError(
            f"config key 'controls' asks for {samples} processes of each; allowed: {MOST_SAMPLES}"
        )


def _check_execution(config: Config) -> None:
    """`execution` and `kernel` that this study's device can run, and together."""
    cuda, execution, kernel = uses_cuda(config), config["execution"], config["kernel"]
    if execution == "graph" and not cuda:
        raise ConfigError(
            "config key 'execution' is graph, a captured CUDA graph, which needs a GPU; "
            "allowed here: auto, eager, step, compile"
        )
    if execution == "step" and (cuda or kernel in ("torch", "triton")):
        raise ConfigError(
            "config key 'execution' is step, a decode step as one call of the native kernels, "
            "which are code for a CPU; allowed with them: kernel auto or native, device cpu"
        )
    if kernel == "triton" and not cuda:
        raise ConfigError(
            "config key 'kernel' is triton, which needs a GPU; allowed here: auto, native, torch"
        )
    if kernel == "native" and cuda:
        raise ConfigError(
            "config key 'kernel' is native, which is code for a CPU; "
            "allowed on a GPU: auto, triton, torch; or set device: cpu"
        )
    if execution == "compile" and kernel in ("native", "triton"):
        raise ConfigError(
            f"config key 'kernel' is {kernel}, which execution: compile cannot see into; "
            "allowed with it: auto, torch"
        )


def _check_depths(config: Config, preset: str) -> None:
    """Depths that leave room for one more token."""
    deepest, block_size = max(config["decode"]["depths"]), shape_of(config, preset)["block_size"]
    if deepest >= block_size:
        raise ConfigError(
            f"config key 'decode.depths' has {deepest}; allowed: whole numbers below "
            f"{block_size}, the block_size of {preset}"
        )


def _check_roofline_source(config: Config) -> None:
    """A folder where exports are read, and none where they are not."""
    source, folder = config["roofline"]["source"], config["roofline"]["csv_dir"]
    if source != "csv" and folder is not None:
        raise ConfigError(
            f"config key 'roofline.csv_dir' is {folder!r}; allowed with roofline.source csv only"
        )
    if source == "csv" and (folder is None or not is_file(f"{folder}/roofs.json")):
        raise ConfigError(
            f"config key 'roofline.csv_dir' is {folder!r}; allowed with roofline.source csv: a "
            "folder that holds exports and the roofs.json of the machine that made them"
        )
    if source == "csv":
        try:
            read_roofs(f"{folder}/roofs.json")
        except FormatError as error:
            raise ConfigError(f"config key 'roofline.csv_dir' is {folder!r}; {error}") from None
    if source == "csv" and (missing := _missing_exports(config)):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ConfigError(
            f"config key 'roofline.csv_dir' is {folder!r}, which lacks {missing[0]}{more} of this "
            "study's exports: export them, or leave their versions, phases or batch sizes out"
        )
    if source == "ncu" and not runner.find():
        raise ConfigError(
            "config key 'roofline.source' is ncu, but there is no ncu on PATH; "
            "allowed here: auto, csv, model"
        )


def _missing_exports(config: Config) -> list[str]:
    """The names of exports that the study reads and its folder has not."""
    asked = config["roofline"]
    places = product(
        config["pretrained"], config["versions"], asked["phases"], asked["batch_sizes"]
    )
    names = [f"{p}_{v}_{phase}_B{batch}_P{asked['P']}.csv" for p, v, phase, batch in places]
    return [name for name in names if not is_file(f"{asked['csv_dir']}/{name}")]
