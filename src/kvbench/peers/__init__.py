"""Peers: other people's runners of the same model, timed as the versions are. Stdlib only.

A peer is a line here and a module with a class `Peer`; it is given our weights, already loaded, and
generates the tokens that v1 generates. None of them is a dependency of another measuring job.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

QUANTISED = {"cache_implementation": "quantized"}
PEERS: dict[str, dict[str, Any]] = {
    "transformers-dynamic": {
        "description": "transformers' generate, dynamic cache",
        "module": "hf",
        "needs": ["transformers"],
        "cache": {"cache_implementation": "dynamic"},
    },
    "transformers-static": {
        "description": "transformers' generate, static cache",
        "module": "hf",
        "needs": ["transformers"],
        "cache": {"cache_implementation": "static"},
    },
    "transformers-quanto": {
        "description": "transformers' generate, INT4 cache of quanto",
        "module": "hf",
        "needs": ["transformers", "optimum.quanto"],
        "cache": {**QUANTISED, "cache_config": {"backend": "quanto", "nbits": 4}},
    },
    "transformers-hqq": {
        "description": "transformers' generate, INT8 cache of HQQ",
        "module": "hf",
        "needs": ["transformers", "hqq"],
        "cache": {**QUANTISED, "cache_config": {"backend": "hqq", "nbits": 8}},
    },
    "ctranslate2": {
        "description": "CTranslate2, weights in the study's dtype",
        "module": "ct2",
        "needs": ["ctranslate2", "transformers"],
    },
    "llama.cpp": {
        "description": "llama.cpp, weights in the study's dtype, f16 cache",
        "module": "llamacpp",
        "needs": ["llama_cpp", "gguf"],
        "cache": "f16",
    },
    "llama.cpp-q8_0": {
        "description": "llama.cpp, weights in the study's dtype, INT8 cache (q8_0)",
        "module": "llamacpp",
        "needs": ["llama_cpp", "gguf"],
        "cache": "q8_0",
    },
}


def missing(peer: str) -> list[str]:
    """The modules that a peer needs and that are not there. Raises KeyError for an unknown one."""
    return [name for name in PEERS[peer]["needs"] if not _there(name)]


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package above it is not there
        return False
