"""Rotary positions as a config.json describes them, in either dialect of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvbench.files import Json
from kvbench.models.hf_keys import Keys

ROPE_TYPES = ("default", "linear", "llama3", "yarn")
SLIDING, FULL = "sliding_attention", "full_attention"  # kinds of layers


def rope_of(keys: Keys) -> Json:
    """Bases, scaling and share of the rotary positions, from either dialect."""
    given, kind = keys.given, keys.kind
    new = given.get("rope_parameters") or {}
    old = given.get("rope_scaling") or {}
    for key, value in (("rope_parameters", new), ("rope_scaling", old)):
        if not isinstance(value, dict):
            keys.refuse(key, value, "a mapping, or null")
    base_key = "rotary_emb_base" if kind == "gpt_neox" else "rope_theta"
    base, local = given.get(base_key, 10_000.0), given.get("rope_local_base_freq", 0.0)
    if FULL in new or SLIDING in new:
        for value in (new.get(FULL) or {}, new.get(SLIDING) or {}):
            if not isinstance(value, dict):
                keys.refuse("rope_parameters", value, "a mapping for each kind of layer")
        near = new.get(SLIDING) or {}
        if near.get("rope_type", "default") != "default":
            keys.refuse("rope_parameters", near, "rope_type default in sliding layers")
        local = near.get("rope_theta", local or base)
        new = new.get(FULL) or {}
    asked = {**old, **new}
    share = asked.get("partial_rotary_factor") or given.get("partial_rotary_factor")
    share = share or given.get("rotary_pct", 1.0)
    found = Keys({"model_type": kind, "rope_theta": base} | asked | {"rotary share": share})
    size = keys.size("head_dim", keys.size("hidden_size") // keys.size("num_attention_heads"))
    rotated = int(size * found.number("rotary share"))
    if rotated % 2 or not 0 < rotated <= size:
        found.refuse("rotary share", share, f"an even number of a head's {size} channels")
    rope: Json = {"rope_base": found.number("rope_theta")}
    if rotated != size:
        rope["rope_share"] = rotated / size
    if local:
        rope["window_rope_base"] = Keys({"model_type": kind, "base": local}).number("base")
    return rope | {"rope_scaling": _scaling(found, keys.given)}


def _scaling(keys: Keys, outer: Mapping[str, Any]) -> Json | None:
    """How speeds are changed for a longer context, in the words of kvbench.models.rotation."""
    kind = keys.given.get("rope_type", keys.given.get("type", "default"))
    if kind not in ROPE_TYPES:
        keys.given = {**keys.given, "rope_type": kind}
        keys.refuse("rope_type", kind, ", ".join(ROPE_TYPES))
    if kind == "default":
        return None
    original = outer.get("original_max_position_embeddings") or keys.given.get(
        "original_max_position_embeddings", outer["max_position_embeddings"]
    )
    if keys.given.get("mrope_section"):
        keys.refuse("mrope_section", keys.given["mrope_section"], "no such key")
    given = keys.given | {"original": original}
    if kind == "yarn" and given.get("factor") is None:
        given |= {"factor": outer["max_position_embeddings"] / original}
    read = Keys(given).number
    scaling: Json = {"type": kind, "factor": read("factor")}
    if kind == "linear":
        return scaling
    scaling["original"] = read("original")
    needed = ("low_freq_factor", "high_freq_factor") if kind == "llama3" else ()
    optional = ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim")
    scaling |= {key: read(key) for key in needed}
    if kind == "yarn":
        scaling |= {key: read(key) for key in optional if given.get(key)}
        if given.get("truncate") is False:
            scaling["truncate"] = False
    return scaling
