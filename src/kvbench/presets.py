"""The registry of model shapes, as data. Standard library only; a custom size is one more line.

Every key is an argument of the architecture's config class (`kvbench.models`). `weights` says what
the default study runs the shape with: `random` (seeded), `trained` (made in this workflow),
`gguf` (converted from a file of the package index) or `hub` (fetched from the model hub); the
configuration can choose another source.
"""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "gpt2":        {"arch": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768,  "block_size": 1024, "vocab_size": 50257, "weights": "random"},   # 124M
    "gpt2-medium": {"arch": "gpt2", "n_layer": 24, "n_head": 16, "n_embd": 1024, "block_size": 1024, "vocab_size": 50257, "weights": "random"},   # 350M
    "gpt2-large":  {"arch": "gpt2", "n_layer": 36, "n_head": 20, "n_embd": 1280, "block_size": 1024, "vocab_size": 50257, "weights": "random"},   # 774M
    "gpt2-xl":     {"arch": "gpt2", "n_layer": 48, "n_head": 25, "n_embd": 1600, "block_size": 1024, "vocab_size": 50257, "weights": "random"},   # 1558M
    "nano":        {"arch": "gpt2", "n_layer": 4,  "n_head": 3,  "n_embd": 192,  "block_size": 256,  "vocab_size": 8192,  "weights": "trained"},  # 3.4M
    "smollm2":     {"arch": "llama", "n_layer": 30, "n_head": 9, "n_kv_head": 3, "n_embd": 576, "n_inner": 1536, "block_size": 8192, "vocab_size": 49152, "rope_base": 100000.0, "weights": "gguf"},  # 135M
}  # fmt: skip

HUB_PRESETS = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")  # names on the model hub, same shape
GGUF = {"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf"}  # preset -> its file in resources/raw
TOKENIZERS = {
    "nano": "gpt2-8k",
    "smollm2": "smollm2",
}  # every other preset reads GPT-2's full vocabulary


def get_preset(preset: str) -> dict[str, Any]:
    """The shape of one preset, as a copy. Raises ValueError naming the known ones."""
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; known presets: {', '.join(PRESETS)}")
    return dict(PRESETS[preset])


def tokenizer_of(preset: str) -> str:
    """The name of the tokenizer whose ids the preset's embedding table is indexed by."""
    return TOKENIZERS.get(preset, "gpt2")
