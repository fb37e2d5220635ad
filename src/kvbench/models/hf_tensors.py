"""Which of Hugging Face's tensors make each of ours, by shape. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kvbench.costs.forward import head_dim
from kvbench.shape import Shape

HALVES, THREE, TRANSPOSED = "halves", "three", "transposed"


class Part(NamedTuple):
    """What one of theirs gives to a tensor of ours, one after the other along its rows.

    `order` of its rows: as ours; HALVES, q or k whose pairs are channels i and i + half; THREE, q,
    k and v of each head in turn; or TRANSPOSED, (inputs, outputs).
    """

    name: str  # without what is in front of its layers
    size: list[int]
    order: str = ""


def ours(shape: Shape) -> dict[str, list[Part]]:
    """By the name of each of our tensors, the parts of theirs that make it."""
    if shape["arch"] == "llama":
        return dict(_llama(shape))
    return dict(_gpt_neox(shape) if shape.get("rope_share") else _gpt2(shape))


Named = Iterator[tuple[str, list[Part]]]


def _llama(shape: Shape) -> Named:
    d, inner, hs = shape["n_embd"], shape["n_inner"], head_dim(shape)
    heads = {"q": shape["n_head"], "k": shape["n_kv_head"], "v": shape["n_kv_head"]}
    yield "transformer.wte.weight", [Part("embed_tokens.weight", [shape["vocab_size"], d])]
    yield "transformer.norm_f.weight", [Part("norm.weight", [d])]
    if not shape.get("tied", True):
        yield "lm_head.weight", [Part("lm_head.weight", [shape["vocab_size"], d])]
    norms = {
        "pre": {"norm_1": "input_layernorm", "norm_2": "post_attention_layernorm"},
        "post": {"post_1": "post_attention_layernorm", "post_2": "post_feedforward_layernorm"},
    }
    norms["both"] = norms["post"] | {"norm_1": "input_layernorm"}
    norms["both"]["norm_2"] = "pre_feedforward_layernorm"
    owner = shape.get("kv_owner") or range(shape["n_layer"])
    for i in range(shape["n_layer"]):
        our, their = f"transformer.h.{i}.", f"layers.{i}."
        rows = {x: n for x, n in heads.items() if x == "q" or owner[i] == i}
        for form, further in (("weight", [d]), ("bias", [])):
            if form == "weight" or shape.get("qkv_bias"):
                names = {x: f"{their}self_attn.{x}_proj.{form}" for x in rows}
                yield (
                    f"{our}attn.c_attn.{form}",
                    [
                        Part(names[x], [n * hs, *further], HALVES * (x != "v"))
                        for x, n in rows.items()
                    ],
                )
            if form == "weight" or shape.get("o_bias"):
                size = [d, heads["q"] * hs] if further else [d]
                yield f"{our}attn.c_proj.{form}", [Part(f"{their}self_attn.o_proj.{form}", size)]
            if form == "weight" or shape.get("mlp_bias"):
                for part, name in (("c_gate", "gate"), ("c_fc", "up")):
                    size = [inner, *further]
                    yield f"{our}mlp.{part}.{form}", [Part(f"{their}mlp.{name}_proj.{form}", size)]
                size = [d, inner] if further else [d]
                yield f"{our}mlp.c_proj.{form}", [Part(f"{their}mlp.down_proj.{form}", size)]
        if shape.get("qk_norm", "none") != "none":
            for x in [x for x in rows if x != "v"]:
                size = [heads[x] * hs if shape["qk_norm"] == "whole" else hs]
                norm = Part(f"{their}self_attn.{x}_norm.weight", size, HALVES)
                yield f"{our}attn.{x}_norm.weight", [norm]
        for at, name in norms[shape.get("norm", "pre")].items():
            yield f"{our}{at}.weight", [Part(f"{their}{name}.weight", [d])]


def _gpt_neox(shape: Shape) -> Named:
    d, inner, V = shape["n_embd"], shape.get("n_inner") or 4 * shape["n_embd"], shape["vocab_size"]
    yield "transformer.wte.weight", [Part("embed_in.weight", [V, d])]
    if not shape.get("tied", True):
        yield "lm_head.weight", [Part("embed_out.weight", [V, d])]
    for form, further in (("weight", True), ("bias", False)):
        yield f"transformer.ln_f.{form}", [Part(f"final_layer_norm.{form}", [d])]
        for i in range(shape["n_layer"]):
            our, their = f"transformer.h.{i}.", f"layers.{i}."
            for ln, name in (("ln_1", "input_layernorm"), ("ln_2", "post_attention_layernorm")):
                yield f"{our}{ln}.{form}", [Part(f"{their}{name}.{form}", [d])]
            for our_part, name, out, width, order in (
                ("attn.c_attn", "attention.query_key_value", 3 * d, d, THREE),
                ("attn.c_proj", "attention.dense", d, d, ""),
                ("mlp.c_fc", "mlp.dense_h_to_4h", inner, d, ""),
                ("mlp.c_proj", "mlp.dense_4h_to_h", d, inner, ""),
            ):
                size = [out, width] if further else [out]
                yield f"{our}{our_part}.{form}", [Part(f"{their}{name}.{form}", size, order)]


def _gpt2(shape: Shape) -> Named:
    d, inner, V = shape["n_embd"], shape.get("n_inner") or 4 * shape["n_embd"], shape["vocab_size"]
    yield "transformer.wte.weight", [Part("wte.weight", [V, d])]
    yield "transformer.wpe.weight", [Part("wpe.weight", [shape["block_size"], d])]
    if not shape.get("tied", True):
        yield "lm_head.weight", [Part("lm_head.weight", [V, d])]
    for form in ("weight", "bias"):
        yield f"transformer.ln_f.{form}", [Part(f"ln_f.{form}", [d])]
        for i in range(shape["n_layer"]):
            for ln in ("ln_1", "ln_2"):
                yield f"transformer.h.{i}.{ln}.{form}", [Part(f"h.{i}.{ln}.{form}", [d])]
            for name, width, out in (
                ("attn.c_attn", d, 3 * d),
                ("attn.c_proj", d, d),
                ("mlp.c_fc", d, inner),
                ("mlp.c_proj", inner, d),
            ):
                their = f"h.{i}.{name}.{form}"
                matrix = Part(their, [width, out], TRANSPOSED)
                yield f"transformer.{their}", [Part(their, [out]) if form == "bias" else matrix]
