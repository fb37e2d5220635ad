"""The cells of a study: what each measuring job is given. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from kvbench import versions
from kvbench.benchmarks import BENCHMARKS, record_name
from kvbench.cell import Cell
from kvbench.costs.layer_map import owners_in
from kvbench.files import Json
from kvbench.job.devices import on_cuda
from kvbench.kernels.cpu.build import has_compiler
from kvbench.peers import PEERS
from kvbench.plan.config_types import Config
from kvbench.plan.study import (
    WEIGHT_KINDS,
    for_preset,
    revision_of,
    roofline_study,
    shape_of,
    weights_source,
)
from kvbench.plan.weight_paths import layer_map
from kvbench.shape import Shape

# What every cell takes of the configuration.
STUDY = (
    *("implementation_name", "dtype", "device", "threads", "execution", "kernel", "process"),
    *(
        "prompt_length",
        "seed",
        "temperature",
        "top_k",
        "num_warmup_runs",
        "num_measure_runs",
        "run_budget_s",
    ),
)
PER_PRESET = ("perplexity.context", "perplexity.max_windows")  # may be a mapping from presets
TINY_HEAD, TINY_VOCABULARY = 32, 64  # a head size that every cache and kernel takes
# name -> delay, a share of each step
CONTROLS = {"v1": 0.0, "v1-again": 0.0, "v1-again2": 0.0, "v1-plus5": 0.05}


def lookup(config: Config, key: str) -> Any:
    """The value of a configuration key, `section.key` for one of a section."""
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


def make(config: Config, benchmark: str, **where: Any) -> Cell:
    """The cell at the wildcards of a benchmark's path."""
    makers: dict[str, Callable[..., Cell]] = {
        "controls": control,
        "peers": peer,
        "executions": execution,
    }
    return makers.get(benchmark, partial(cell, benchmark=benchmark))(config, **where)


def cell(config: Config, benchmark: str, preset: str, version: str, **where: Any) -> Cell:
    """The cell of one benchmark, preset and version; `where` holds batch, T, P, phase if needed.

    Raises ValueError for an unknown version.
    """
    line, about = versions.get_version_config(version), BENCHMARKS[benchmark]
    described = versions.format_of(version)
    shape = shape_of(config, preset)
    source = weights_source(config, preset)
    if benchmark == "dispatch":
        shape, source = tiny(shape), "random"
    del shape["weights"]
    return Cell(
        **{key: lookup(config, key) for key in STUDY}
        | settings(config, benchmark, preset, shape, where),
        benchmark=about.module or benchmark,
        benchmark_name=record_name(benchmark),
        timed=about.timed,
        whole_steps=about.whole_steps,
        version=version,
        version_description=line["description"],
        use_cache=line["use_cache"],
        kv_cache_quant=line["kv_cache_quant"],
        cross_layer_sharing=line["cross_layer_sharing"],
        cache=versions.cache_name(version),
        cache_format=described.data() if described else {},
        layer_owner=owners_in(layer_map(config, version), shape),
        weights_variant=line.get("weights_variant"),
        fold=versions.fold(version),
        pretrained=preset,
        model_config=shape,
        weights=source if source in WEIGHT_KINDS else "path",
        weights_revision=revision_of(config, preset),
        batch_size=int(where.get("batch", 1)),
    )


def settings(
    config: Config,
    benchmark: str,
    preset: str,
    shape: Shape,
    where: Json,
) -> Json:
    """What a benchmark takes of the configuration, and of its cell's place."""
    found: Json = {}
    for key in BENCHMARKS[benchmark].settings:
        value = lookup(config, key)
        found[key.split(".")[-1]] = for_preset(value, preset) if key in PER_PRESET else value
    axes = [key for key in BENCHMARKS[benchmark].axes if key in ("T", "depth", "P", "phase")]
    found |= {key: where[key] if key == "phase" else int(where[key]) for key in axes}
    if "depth" in found:
        found["prompt_length"] = found["depth"]
    if "context" in found:
        found["context"] = found["context"] or shape["block_size"]
        found["stride"] = found["stride"] or found["context"]
    if "budget_mib" in found:
        found["budget_bytes"] = found.pop("budget_mib") * 2**20
    return found


def study_of(config: Config, benchmark: str) -> Config:
    """The configuration whose keys a benchmark's axes name."""
    studies = {
        "controls": control_study,
        "executions": execution_study,
        "decode": decode_study,
        "dispatch": dispatch_study,
        "roofline": roofline_study,
    }
    return studies[benchmark](config) if benchmark in studies else config


def decode_study(config: Config) -> Config:
    """The configuration under which benchmark `decode` is measured.

    Its own batch sizes, versions and replicates, where it gives them; without, the study's, and of
    its versions those with a cache: those without compute the whole sequence at every depth.
    """
    own = config["decode"]
    return config | {
        "batch_size": own["batch_size"] or config["batch_size"],
        "replicates": max(own["replicates"] or 0, config["replicates"]),
        "versions": own["versions"] or with_cache(config["versions"]),
    }


def dispatch_study(config: Config) -> Config:
    """The configuration of benchmark `dispatch`: one batch serves all."""
    return decode_study(config) | {"batch_size": [1]}


def with_cache(names: list[str]) -> list[str]:
    """The versions that keep a cache; all of them where none does."""
    return [name for name in names if versions.get_use_cache(name)] or names


def control_study(config: Config) -> Config:
    """The configuration under which the controls are measured: `versions` are v1 and its controls.

    A delay is counted out by the host, so that where CUDA is used v1 is only measured again.
    """
    asked, cuda = config["controls"], on_cuda(config["device"])
    left_out = {name for name, delay in CONTROLS.items() if cuda and delay}
    left_out |= {"v1-again2"} if asked["again"] == 1 else set()
    return config | {
        "versions": [name for name in CONTROLS if name not in left_out],
        "batch_size": asked["batch_size"],
        "T_values": asked["T"],
        "replicates": asked["replicates"],
    }


def control(config: Config, preset: str, control: str, **where: Any) -> Cell:
    """The latency cell of one control: v1's in all but its name and its delay."""
    delay = CONTROLS[control]
    about = f"v1, every step {delay:.0%} longer" if delay else "v1, measured again"
    v1 = cell(config, "controls", preset, "v1", **where)
    return v1.replace(version=control, version_description=about, delay=delay)


def peer(config: Config, preset: str, peer: str, **where: Any) -> Cell:
    """The cell of a peer: v1's latency cell under the peer's name, greedy, as every peer is.

    `execution` and `kernel` are those of v1, whose tokens the peer's are compared with. There is no
    yardstick, since the peer's products are not ours.
    """
    return cell(config, "peers", preset, "v1", **where).replace(
        version=peer,
        version_description=PEERS[peer]["description"],
        temperature=0,
        top_k=None,
        execution="eager",
        kernel="torch",
    )


def modes(config: Config) -> list[str]:
    """The ways to run a step that target `executions` compares: the study's, or the device's."""
    if config["executions"]:
        return config["executions"]
    if on_cuda(config["device"]):
        return ["eager-torch", "graph-torch", "graph-triton"]
    native = ["eager-native", "step-native"]
    return ["eager-torch", *(native if has_compiler() else ["compile-torch"])]


def execution_study(config: Config) -> Config:
    """The configuration under which `modes` are compared: versions with a cache, the largest T."""
    return config | {
        "versions": with_cache(config["versions"]),
        "T_values": [max(config["T_values"])],
        "modes": modes(config),
    }


def execution(config: Config, preset: str, mode: str, version: str, **where: Any) -> Cell:
    """The latency cell of one version, run by one execution and kernel."""
    execution, kernel = mode.split("-")
    return cell(config, "executions", preset, version, **where).replace(
        mode=mode, execution=execution, kernel=kernel
    )


def tiny(shape: Shape) -> Shape:
    """A shape of the same operations, one K/V head wide: what is left of a step is its dispatch.

    As many layers, and as many query heads to a K/V head, so that every call is made as often and
    takes the same path; every weight and every row fits into the nearest caches.
    """
    heads = shape["n_head"] // shape.get("n_kv_head", shape["n_head"])
    small = shape.copy()
    small["n_head"], small["n_embd"] = heads, heads * TINY_HEAD
    small["vocab_size"] = TINY_VOCABULARY
    if "n_kv_head" in shape:
        small["n_kv_head"] = 1
    if "head_dim" in shape:
        small["head_dim"] = TINY_HEAD
    if "n_inner" in shape:
        small["n_inner"] = 4 * small["n_embd"]
    return small
