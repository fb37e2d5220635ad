"""The registry of model shapes, as data. Standard library only; a custom size is one more line.

Every key is an argument of the architecture's config class (`kvbench.models`). `weights` says what
the default study runs the shape with: `random` (seeded), `trained` (made in this workflow),
`gguf` (converted from a file of the package index) or `hub` (fetched from the model hub); the
configuration can choose another source.
"""

from __future__ import annotations

from kvbench.shape import Shape

# RoPE of Llama 3.1 and 3.2, but for the factor (kvbench.models.rotation).
LLAMA3 = {"type": "llama3", "original": 8192, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
PRESETS: dict[str, Shape] = {
    "gpt2":        {"arch": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768,  "block_size": 1024, "vocab_size": 50257, "weights": "random"},   # 124M
    "gpt2-medium": {"arch": "gpt2", "n_layer": 24, "n_head": 16, "n_embd": 1024, "block_size": 1024, "vocab_size": 50257, "weights": "random"},   # 350M
    "gpt2-large":  {"arch": "gpt2", "n_layer": 36, "n_head": 20, "n_embd": 1280, "block_size": 1024, "vocab_size": 50257, "weights": "random"},   # 774M
    "gpt2-xl":     {"arch": "gpt2", "n_layer": 48, "n_head": 25, "n_embd": 1600, "block_size": 1024, "vocab_size": 50257, "weights": "random"},   # 1558M
    "nano":        {"arch": "gpt2", "n_layer": 4,  "n_head": 3,  "n_embd": 192,  "block_size": 256,  "vocab_size": 8192,  "weights": "trained"},  # 3.4M
    "smollm2":     {"arch": "llama", "n_layer": 30, "n_head": 9, "n_kv_head": 3, "n_embd": 576, "n_inner": 1536, "block_size": 8192, "vocab_size": 49152, "rope_base": 100000.0, "weights": "gguf"},  # 135M
    # Published shapes, docs/models.md; weights of one's own come with its directory.
    "pythia-160m":  {"arch": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768, "block_size": 2048, "vocab_size": 50304, "activation": "gelu", "rope_share": 0.25, "parallel": True, "tied": False, "weights": "random"},
    "qwen2.5-0.5b": {"arch": "llama", "n_layer": 24, "n_head": 14, "n_kv_head": 2, "n_embd": 896, "n_inner": 4864, "block_size": 32768, "vocab_size": 151936, "head_dim": 64, "rope_base": 1e6, "norm_eps": 1e-6, "qkv_bias": True, "weights": "random"},
    "qwen3-0.6b":   {"arch": "llama", "n_layer": 28, "n_head": 16, "n_kv_head": 8, "n_embd": 1024, "n_inner": 3072, "block_size": 40960, "vocab_size": 151936, "head_dim": 128, "rope_base": 1e6, "norm_eps": 1e-6, "qk_norm": "head", "weights": "random"},
    "gemma-3-1b":   {"arch": "llama", "n_layer": 26, "n_head": 4, "n_kv_head": 1, "n_embd": 1152, "n_inner": 6912, "block_size": 32768, "vocab_size": 262144, "head_dim": 256, "rope_base": 1e6, "window_rope_base": 1e4, "windows": [*([512] * 5 + [0]) * 4, 512, 512], "norm_eps": 1e-6, "qk_norm": "head", "norm": "both", "norm_offset": True, "activation": "gelu_new", "embed_scale": 1152**0.5, "weights": "random"},
    "llama-3.2-1b": {"arch": "llama", "n_layer": 16, "n_head": 32, "n_kv_head": 8, "n_embd": 2048, "n_inner": 8192, "block_size": 131072, "vocab_size": 128256, "head_dim": 64, "rope_base": 5e5, "rope_scaling": LLAMA3 | {"factor": 32.0}, "weights": "random"},
    "olmo-2-1b":    {"arch": "llama", "n_layer": 16, "n_head": 16, "n_kv_head": 16, "n_embd": 2048, "n_inner": 8192, "block_size": 4096, "vocab_size": 100352, "head_dim": 128, "rope_base": 5e5, "norm_eps": 1e-6, "qk_norm": "whole", "norm": "post", "tied": False, "weights": "random"},
    "smollm3-3b":   {"arch": "llama", "n_layer": 36, "n_head": 16, "n_kv_head": 4, "n_embd": 2048, "n_inner": 11008, "block_size": 65536, "vocab_size": 128256, "head_dim": 128, "rope_base": 5e6, "no_rope": [*range(3, 36, 4)], "norm_eps": 1e-6, "weights": "random"},
    "llama-3.1-8b": {"arch": "llama", "n_layer": 32, "n_head": 32, "n_kv_head": 8, "n_embd": 4096, "n_inner": 14336, "block_size": 131072, "vocab_size": 128256, "head_dim": 128, "rope_base": 5e5, "rope_scaling": LLAMA3 | {"factor": 8.0}, "tied": False, "weights": "random"},
}  # fmt: skip

HUB_PRESETS = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")  # names on the model hub, same shape
GGUF = {"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf"}  # preset -> its file in resources/raw
# Every other preset reads GPT-2's full vocabulary.
TOKENIZERS = {"nano": "gpt2-8k", "smollm2": "smollm2"}


def get_preset(preset: str) -> Shape:
    """The shape of one preset, as a copy. Raises ValueError naming the known ones."""
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; known presets: {', '.join(PRESETS)}")
    return PRESETS[preset].copy()


def tokenizer_of(preset: str) -> str:
    """The name of the tokenizer whose ids the preset's embedding table is indexed by."""
    return TOKENIZERS.get(preset, "gpt2")
