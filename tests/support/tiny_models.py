"""Directories as transformers writes them: tiny random models of every family, in shards."""

import json
from functools import cache
from pathlib import Path

import torch

SIZES = {
    **{"vocab_size": 157, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 4},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128},
    **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
}
MHA = {key: size for key, size in SIZES.items() if key != "num_key_value_heads"}
LLAMA3 = {
    **{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    **{"original_max_position_embeddings": 32, "rope_theta": 5000.0},
}
YARN = {
    **{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    "rope_theta": 10_000.0,
}
GEMMA = {"head_dim": 32, "sliding_window": 8, "sliding_window_pattern": 3}
FAMILIES = {
    "llama, llama3 rope, biases": {
        **{"model_type": "llama", **SIZES, "rope_parameters": LLAMA3},
        **{"attention_bias": True, "mlp_bias": True},
    },
    "llama, yarn, tied, head of 80": {
        **{"model_type": "llama", **SIZES, "head_dim": 80, "rope_parameters": YARN},
        "tie_word_embeddings": True,
    },
    "llama, linear rope": {
        **{"model_type": "llama", **SIZES},
        "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 10_000.0},
    },
    "mistral, windows": {"model_type": "mistral", **SIZES, "sliding_window": 7, "head_dim": 16},
    "qwen2": {"model_type": "qwen2", **SIZES, "tie_word_embeddings": True},
    "qwen2, windows above": {
        **{"model_type": "qwen2", **SIZES, "use_sliding_window": True},
        **{"sliding_window": 9, "max_window_layers": 2},
    },
    "qwen3, head of 96": {"model_type": "qwen3", **SIZES, "head_dim": 96, "attention_bias": True},
    "smollm3": {"model_type": "smollm3", **SIZES, "mlp_bias": True},
    "olmo2": {"model_type": "olmo2", **SIZES},
    "gemma3": {"model_type": "gemma3_text", **SIZES, **GEMMA, "query_pre_attn_scalar": 40},
    "gemma3, untied": {
        **{"model_type": "gemma3_text", **SIZES, **GEMMA, "query_pre_attn_scalar": 32},
        **{"attention_bias": True, "tie_word_embeddings": False},
    },
    "gpt_neox": {
        **{"model_type": "gpt_neox", **MHA},
        "rope_parameters": {"rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
    },
    "gpt_neox, serial": {
        **{"model_type": "gpt_neox", **MHA, "hidden_size": 64, "use_parallel_residual": False}
    },
    "gpt2": {
        **{"model_type": "gpt2", "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 128},
        **{"vocab_size": 157, "bos_token_id": 1, "eos_token_id": 2},
    },
}


MORE = {}  # families of single tests


@cache
def tiny(family):
    """A random model of transformers, its weights far from zero so that a wrong one shows."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(**{**FAMILIES, **MORE}[family])
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def saved(family, folder, shard="40KB"):
    """The model's directory, in shards of `shard`."""
    tiny(family).save_pretrained(folder, max_shard_size=shard)
    return Path(folder)


def in_old_dialect(config):
    """A config.json as transformers 4 wrote it."""
    old = dict(config)
    rope = old.pop("rope_parameters", None)
    if "dtype" in old:
        old["torch_dtype"] = old.pop("dtype")
    if rope is None:
        return old
    if "full_attention" in rope:
        old["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    rope = dict(rope)
    neox = old["model_type"] == "gpt_neox"
    old["rotary_emb_base" if neox else "rope_theta"] = rope.pop("rope_theta")
    if neox:
        old["rotary_pct"] = rope.pop("partial_rotary_factor")
    kind = rope.pop("rope_type", "default")
    old["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    return old


def edit(folder, **changes):
    """Change keys of a directory's config.json."""
    path = Path(folder) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
