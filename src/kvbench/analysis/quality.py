"""What perplexity cells say to people: rows of the quality table, and what to read beside it."""

from __future__ import annotations

from collections.abc import Sequence

from kvbench.analysis import gate_table
from kvbench.costs.forward import head_dim, kept_bytes
from kvbench.costs.layout import equal_rows
from kvbench.records.names import names_of
from kvbench.records.record import Row, measured
from kvbench.stats.digits import short, spoken
from kvbench.stats.order import TAIL as PERCENTILES
from kvbench.stats.order import median_interval

ITEMSIZES = {"bf16": 2, "fp32": 4}  # the dense caches that compression is relative to
DENSE = {"float32": "fp32", "bfloat16": "bf16"}  # dtype of a record -> of the dense cache
# Perplexity of WikiText-2 raw's test set by model and stride, as published for a context of 1024.
PUBLISHED = {("gpt2", 1024): 29.94, ("gpt2-large", 1024): 19.44, ("gpt2-large", 512): 16.44}
WIKITEXT_TOKENS = 287_644
TAIL = (*PERCENTILES, "max")
MULTIPLIED = 2.0  # from this ratio on, a perplexity is said as a multiple and not in per cent
CALIBRATED = 0.005  # a perplexity within half a per cent of the published one is the same
TOO_WEAK = {
    "nano": "nano is too weak to judge a quantised cache: it makes little use of distant tokens, "
    "so that even 4 bits cost it next to nothing. Judge those on a pretrained model."
}


def with_gates_and_floor(cells: Sequence[Row], gates: Row | None) -> list[Row]:
    """The cells with the word of the gates, and with the noise floor that v1's cell has."""
    floors = [cell["noise_floor"] for cell in cells if "noise_floor" in cell]
    return [
        cell
        | {"gate": gate_table.said(gates, cell["version"]), "floor": floors[0] if floors else None}
        for cell in cells
    ]


def row(cell: Row) -> Row:
    """Numbers of one cell, for the CSV: against v1, with intervals, beside the noise floor."""
    plain, paired = cell["modes"]["teacher_forced"], cell["paired"]
    delta, ratio, kl = paired["delta_nll"], paired["perplexity_ratio"], paired["kl"]
    first, low, high = diverging(cell)
    floor = cell.get("floor") or {}
    return {
        "sharing": sharing(cell),
        "text": cell["text"],
        "context": cell["context"],
        "windows": cell["n_windows"],
        "tokens": cell["n_tokens"],
        "perplexity_teacher_forced": plain["perplexity"],
        "perplexity": cell["perplexity"],
        "bits_per_byte": cell["bits_per_byte"],
        "degradation_percent": cell["degradation"],
        "delta_nll": delta["mean"],
        "delta_nll_low": delta["low"],
        "delta_nll_high": delta["high"],
        "ratio": ratio["ratio"],
        "ratio_low": ratio["low"],
        "ratio_high": ratio["high"],
        "kl_mean": kl["mean"],
        "kl_low": kl["low"],
        "kl_high": kl["high"],
        **{f"kl_{name}": kl.get(name) for name in TAIL},
        "top1_agreement": paired["top1_agreement"],
        **_columns("flips", "mean", paired.get("flips")),
        **_columns("delta_p_rms", "rms", paired.get("delta_p")),
        "ratio_floor": floor.get("perplexity_ratio", {}).get("ratio"),
        "kl_mean_floor": floor.get("kl", {}).get("mean"),
        "kl_max_floor": floor.get("kl", {}).get("max"),
        "flips_floor": floor.get("flips", {}).get("mean"),
        "delta_p_rms_floor": floor.get("delta_p", {}).get("rms"),
        "gate": cell.get("gate"),
        "first_divergence": first,
        "first_divergence_low": low,
        "first_divergence_high": high,
        "diverged": sum(at is not None for at in cell["divergence"]["first"]),
        "prompts": len(cell["divergence"]["first"]),
        **{name: probe["accuracy_cached"] for name, probe in cell["probes"].items()},
        "cache_bytes_per_token": cell["cache_bytes_per_token"],
        **{f"smaller_than_{name}": times for name, times in compression(cell).items()},
    }


def diverging(cell: Row) -> tuple[float, float | None, float | None]:
    """The median of the tokens before the first divergence, and its interval over prompts.

    A prompt that never diverges counts as all tokens that were asked for.
    """
    asked = cell["divergence"]["tokens"]
    return median_interval([asked if at is None else at for at in cell["divergence"]["first"]])


def _columns(name: str, value: str, part: Row | None) -> Row:
    """A figure and the ends of its interval; empty of a record that has none."""
    keys = {name: value, f"{name}_low": "low", f"{name}_high": "high"}
    return {column: (part or {}).get(key) for column, key in keys.items()}


def readable(cell: Row) -> Row:
    """The same in fewer columns, for the Markdown: the change first, counts beside medians."""
    r = row(cell)
    beyond = ">= " if r["first_divergence"] >= cell["divergence"]["tokens"] else ""
    smaller = compression(cell)[DENSE.get(cell["dtype"], "fp32")]
    return {
        "sharing": r["sharing"],
        "perplexity": short(r["perplexity"], 4),
        "change [95 %]": change_words(cell),
        "gate": (r["gate"] or "").partition(" by ")[0],
        "KL mean": short(r["kl_mean"], 2),
        "p99.9": None if r["kl_p99_9"] is None else short(r["kl_p99_9"], 2),
        "flips": f"{100 * (1 - r['top1_agreement']):.2f} %",
        "cache B/token": f"{r['cache_bytes_per_token']:,}",
        "RMS dp": None if r["delta_p_rms"] is None else f"{100 * r['delta_p_rms']:.2f} %",
        "smaller": None if smaller is None else f"{smaller:.2f}x",
        "first divergence": f"{beyond}{_tokens(r)} ({r['diverged']}/{r['prompts']})",
        **{name: f"{100 * r[name]:.0f} %" for name in cell["probes"]},
        "bits/byte": f"{r['bits_per_byte']:.4f}",
    }


def _tokens(row: Row) -> str:
    """A median with its interval, where there is one: whole tokens."""
    low, high = row["first_divergence_low"], row["first_divergence_high"]
    ends = "" if low is None else f" [{low:g}, {high:g}]"
    return f"{row['first_divergence']:g}{ends}"


def change_words(cell: Row, interval: bool = True) -> str:
    """The change of perplexity against v1, with or without its interval: `+0.2 [-0.3, +0.8] %`.

    From MULTIPLIED on as a multiple: `x 2,000 [800, 5,300]`.
    """
    ratio = cell["paired"]["perplexity_ratio"]
    found = [ratio[key] for key in ("ratio", "low", "high")]
    if found[0] >= MULTIPLIED:
        text = f"x {spoken(found[0], found[1], found[2], apart_from=1)}"
        return text if interval else text.partition(" [")[0]
    value, low, high = (None if x is None else 100 * (x - 1) for x in found)
    text = spoken(value or 0.0, low, high, sign=True, apart_from=0)
    return f"{text if interval else text.partition(' [')[0]} %"


def compression(cell: Row) -> dict[str, float | None]:
    """How many times smaller a token's cache is than a dense one, every layer its own, by dtype."""
    shape, kept = cell["model_config"], cell["cache_bytes_per_token"]
    one, tokens = equal_rows(head_dim(shape)), cell["context"] - 1  # a byte a number
    numbers = kept_bytes(shape, range(shape["n_layer"]), 1, one, tokens) / tokens
    return {name: numbers * size / kept if kept else None for name, size in ITEMSIZES.items()}


def sharing(cell: Row) -> str:
    """How a version came to share K/V: `-` where it does not."""
    if not cell["cross_layer_sharing"]:
        return "-"
    return cell.get("weights_variant") or "post hoc"


def notes(records: Sequence[Row]) -> list[str]:
    """What a reader must know beside the numbers, one paragraph each."""
    cells = measured(records)
    if not cells:
        return []
    first = cells[0]
    asked = first["divergence"]
    said = [
        f"{first['n_windows']} windows of {first['context']} tokens of {first['text']}, "
        f"{first['n_tokens']:,} tokens scored, each read by v1's plain forward and through the "
        "version's cache. Delta, KL and intervals are paired by window, over documents of the text "
        "(over blocks of windows where there are few); nats a token. First divergence: tokens of "
        "greedy decoding before the first that differs from "
        f"v1's, median with its interval from six prompts on (prompts that diverge within "
        f"{asked['tokens']} / all). flips: tokens whose most likely guess is not v1's. RMS dp: "
        "root mean square change of the right token's probability.",
        *_limits(cells),
        _probes_say(first),
    ]
    if any(sharing(cell) == "post hoc" for cell in cells):
        said.append(
            "Sharing post hoc is an architecture study, not a recipe: no weight was fitted."
        )
    said += calibration(cells)
    weak = TOO_WEAK.get(first["pretrained"])
    return [*said, weak] if weak else said


def _limits(cells: Sequence[Row]) -> list[str]:
    """What the figures cannot be trusted below, and whether corrupted codes moved them."""
    said = []
    if floor := next((c["noise_floor"] for c in cells if "noise_floor" in c), None):
        kl, flips, dp = floor["kl"], 100 * floor["flips"]["mean"], 100 * floor["delta_p"]["rms"]
        change = 100 * abs(floor["perplexity_ratio"]["ratio"] - 1)
        said.append(
            "Noise floor, v1 against itself through two exact paths over "
            f"{floor['tokens']:,} tokens: change {short(change, 2)} %, KL mean "
            f"{short(kl['mean'], 2)}, at most {short(kl['max'], 2)}, flips {short(flips, 2)} %, "
            f"RMS dp {short(dp, 2)} %. What is no larger says nothing."
        )
    names = names_of(cells)
    moved = [
        f"{names[c['version']]} {'no number' if kl is None else short(kl, 2)}"
        for c in cells
        if "corrupted" in c
        for kl in [c["corrupted"]["kl"]]
    ]
    if moved:
        said.append(f"Control, KL once every stored code was reversed: {', '.join(moved)}.")
    return said


def calibration(cells: Sequence[Row]) -> list[str]:
    """v1's plain perplexity beside the published one, where text, windows and weights are its own.

    Whole test set of WikiText-2 raw, GPT-2's weights of the model hub, a known stride.
    """
    first = cells[0]
    published = PUBLISHED.get((first["pretrained"], first["stride"]))
    if published is None or first["text"] != "wikitext-2" or first["weights"] != "hub":
        return []
    if first["context"] != 1024 or first["n_tokens"] < WIKITEXT_TOKENS - 1:
        return ["Not calibrated: only part of WikiText-2's test set was scored."]
    found = first["modes"]["teacher_forced"]["perplexity"]
    off = found / published - 1
    holds = "holds" if abs(off) < CALIBRATED else "DOES NOT HOLD: no delta here can be trusted"
    return [
        f"Calibration {holds}: {found:.2f} by plain forwards, published {published} ({off:+.2%})."
    ]


def _probes_say(cell: Row) -> str:
    """What v1 itself reaches in the probes: a cache cannot be caught at what a model cannot do."""
    reached = {name: probe["accuracy_plain"] for name, probe in cell["probes"].items()}
    listed = ", ".join(f"{name} {100 * share:.0f} %" for name, share in reached.items())
    if max(reached.values()) < 0.5:
        return f"Probes, v1's own accuracy: {listed}. It cannot do them, so they say nothing here."
    return f"Probes, v1's own accuracy: {listed}."
