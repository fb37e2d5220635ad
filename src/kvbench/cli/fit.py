"""`kvbench fit`: which caches fit a memory, by the closed forms, before anything is run."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from kvbench import versions
from kvbench.cli import workflow
from kvbench.cli.errors import Refusal, unknown
from kvbench.cli.listing import table
from kvbench.presets import PRESETS

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
DTYPES = ("float32", "bfloat16", "float16")


def fit(
    model: Annotated[
        str, typer.Option("--model", "-m", help="a preset, a directory, org/name, config:PATH")
    ] = "gpt2",
    memory: Annotated[str, typer.Option("--memory", help="of the device: 8GiB, 500MB")] = "8GiB",
    context: Annotated[int | None, typer.Option("--context", help="tokens a sequence")] = None,
    batch: Annotated[int, typer.Option("--batch", help="sequences", min=1)] = 1,
    dtype: Annotated[str, typer.Option("--dtype", help="of the weights")] = "bfloat16",
    config: Annotated[
        list[str] | None, typer.Option("--config", help="a study whose caches count as well")
    ] = None,
) -> int:
    """Say which caches fit into a memory beside the weights, and how much of each does."""
    from kvbench.caches import layout_of
    from kvbench.costs.fit import fit as fitting
    from kvbench.costs.forward import ITEMSIZE, head_dim, weight_bytes
    from kvbench.costs.layer_map import owners_in
    from kvbench.costs.part import DescriptionError
    from kvbench.files.foreign import FormatError
    from kvbench.plan.models import place_models
    from kvbench.stats.digits import short, size

    try:
        given, models = place_models({"pretrained": model})
    except FormatError as error:
        raise Refusal(str(error)) from None
    model = given["pretrained"]
    if model not in PRESETS and model not in models:
        raise unknown("model", model, PRESETS)
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    shape = models[model]["shape"] if models else PRESETS[model]
    tokens = shape["block_size"] if context is None else context
    if not 1 <= tokens <= shape["block_size"]:
        raise Refusal(
            f"--context is {tokens}; allowed for {model}: whole numbers from 1 to "
            f"{shape['block_size']}"
        )
    room = bytes_of(memory)
    rows = [("cache", "bytes/token", f"{batch} x {tokens:,} tokens", "fits", "tokens", "sequences")]
    for version, line in workflow.registered(config or []).items():
        if not line["use_cache"] or line.get("weights_variant"):
            continue  # the same bytes as the version it is fitted for
        name, stored = versions.NAMES[version], versions.storage(version)
        owner = owners_in(versions.layer_map(version), shape)
        try:
            layout = layout_of(stored, head_dim(shape), ITEMSIZE[dtype])
        except DescriptionError as error:
            rows.append((name, "-", "-", "-", "-", f"not on {model}: {error}"))
            continue
        found = fitting(shape, owner, dtype, layout, room, tokens, batch)
        each = (short(found.per_token, 4), size(found.cache_bytes), "yes" if found.fits else "no")
        numbers = (f"{found.tokens:,}", f"{found.sequences:,}")
        rows.append((name, *each, *numbers))
    weights = weight_bytes(shape, owners_in("own", shape), dtype)
    print(f"{model} in {dtype}: weights {size(weights)} of {size(room)}")
    print(table(rows))
    print(
        f"tokens: the longest sequences that {batch} of fit, at most {shape['block_size']:,}, the "
        f"model's context; sequences: how many of {tokens:,} tokens."
    )
    print("By the closed form; activations come on top. This measures how many sequences fit:")
    print(confirming(model, dtype, tokens, room))
    return 0


def confirming(model: str, dtype: str, tokens: int, room: int) -> str:
    """The command of the capacity search for sequences of so many tokens in `room` bytes."""
    generated = min(8, tokens - 1) or 1
    settings = (
        f"pretrained={model}",
        f"dtype={dtype}",
        f"prompt_length={max(1, tokens - generated)}",
        f"'capacity={{budget_mib: {max(1, room // 2**20)}, T: {generated}}}'",
    )
    return f"  snakemake --cores 1 capacity --config {' '.join(settings)}"


def bytes_of(text: str) -> int:
    """Bytes of `8GiB`, `500MB` or a number. Raises Refusal."""
    match = re.fullmatch(r"([\d.]+)\s*([kmgt]?)(i?)b?", text.strip().lower())
    try:
        number = float(match[1]) if match else 0.0
    except ValueError:
        number = 0.0
    if match is None or not number > 0 or (match[3] and not match[2]):
        raise Refusal(f"--memory is {text!r}; allowed: a size such as 8GiB, 500MB or 24000000000")
    return int(number * (BINARY if match[3] else UNITS)[match[2]])
