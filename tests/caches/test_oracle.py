"""The caches against docs/formats.md, written once more in numpy from that page."""

import numpy as np
import pytest
import torch
from stored import stored

from kvbench.bench.quality.probes import SHORTEST
from kvbench.caches import make
from kvbench.models.gpt2 import Config
from kvbench.plan import config_checks
from kvbench.plan.config import ConfigError, load_schema, resolve
from kvbench.versions import storage

VERSIONS = [f"v{n}" for n in (0, 1, 2, 5, 6, 7, 8, 9, 10, 11)]  # each cache once

HS, HEADS, SINKS, WINDOW, BLOCK = 16, 2, 4, 252, 64
F32 = np.float32


def rows(x, limit):
    """Rows of codes, read back."""
    scale = np.abs(x).max(-1, keepdims=True) / F32(limit)
    with np.errstate(invalid="ignore"):
        codes = np.where(scale > 0, np.round(x / scale), 0)
    return codes * scale


def channels(x, bits):
    """One settled block, read back."""
    low, high = x.min(0), x.max(0)
    scale = (high - low) / F32(2**bits - 1)
    with np.errstate(invalid="ignore"):
        step = np.where(scale > 0, np.clip(np.round((x - low) / scale), 0, 2**bits - 1), 0)
    codes = step - 2 ** (bits - 1)
    return codes * scale + (low + 2 ** (bits - 1) * scale)


def by_channel(k, v, bits):
    settled = (len(k) - 1) // BLOCK * BLOCK
    blocks = [channels(k[at : at + BLOCK], bits) for at in range(0, settled, BLOCK)]
    return np.concatenate([*blocks, k[settled:]]), rows(v, 2 ** (bits - 1) - 1)


def centred(x):
    centre = x[:BLOCK].mean(0, dtype=F32)
    return np.concatenate([x[:BLOCK], rows(x[BLOCK:] - centre, 7) + centre])


def hadamard():
    h = np.ones((1, 1), F32)
    while len(h) < HS:
        h = np.block([[h, h], [h, -h]])
    return h / F32(np.sqrt(HS))


def turned(k, v):
    return rows(k @ hadamard(), 7) @ hadamard(), rows(v, 7)


def recent(x):
    return np.concatenate([x[:SINKS], x[max(SINKS, len(x) - WINDOW) :]])


def windowed(k, v):
    return tuple(map(recent, turned(k, v)))


FORMATS = {
    "dense": lambda k, v: (k, v),
    "int8": lambda k, v: (rows(k, 127), rows(v, 127)),
    "int4": lambda k, v: (rows(k, 7), rows(v, 7)),
    "int8_channel": lambda k, v: by_channel(k, v, 8),
    "int4_channel": lambda k, v: by_channel(k, v, 4),
    "int4_centred": lambda k, v: (centred(k), centred(v)),
    "int4_hadamard": turned,
    "window": lambda k, v: (recent(k), recent(v)),
    "window_int4": windowed,
}


def attention(q, k, v):
    scores = (q / np.sqrt(HS)) @ k.T.astype(np.float64)
    weights = np.exp(scores - scores.max())
    return weights / weights.sum() @ v


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("tokens", [1, 63, 65, 128, 300])
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "a prefill first"])
def test_a_cache_gives_what_the_page_says(name, tokens, at_once):
    draw = np.random.default_rng(tokens)
    k, v, q = draw.standard_normal((3, HEADS, tokens, HS)).astype(F32)
    k[:, :, 3] *= 20  # a channel that sticks out
    k[:, :, 5] = 1  # and one of equal values
    v[0, tokens // 2] = 0
    shape = {"n_layer": 1, "n_head": HEADS, "n_embd": HEADS * HS, "block_size": 512}
    cache = make(stored(name), Config(**shape, vocab_size=9), 1, tokens, torch.zeros(1))
    cuts = [0, tokens - 1, tokens] if at_once and tokens > 1 else range(tokens + 1)
    for begin, end in zip(cuts, [*cuts][1:], strict=False):
        part = [torch.from_numpy(x[None, :, begin:end]) for x in (k, v, q)]
        cache.update(0, *part[:2])
        found = cache.attend(0, part[2])[0, :, -1]
        cache.advance(end - begin)
    for head in range(HEADS):
        expected = attention(q[head, -1], *FORMATS[name](k[head], v[head]))
        np.testing.assert_allclose(found[head].numpy(), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 2, 3, 6, 8, 9])
def test_a_head_size_is_refused_at_planning_or_held(version, size):
    model = {"n_layer": 1, "n_head": 2, "n_embd": 2 * size, "block_size": 256, "vocab_size": 9}
    study = {"pretrained": None, "model_config": model, "versions": [version], "device": "cpu"}
    study["benchmarks"] = []
    try:
        resolve(study, load_schema())
    except ConfigError as refusal:
        assert "whose cache cannot hold rows" in str(refusal)
        return
    cache = make(storage(version), Config(**model), 1, 130, torch.zeros(1))
    for _ in range(130):
        k, v, q = torch.randn(3, 1, 2, 1, size)
        cache.update(0, k, v)
        assert cache.attend(0, q).shape == q.shape
        cache.advance(1)


def test_the_shortest_probe_is_what_planning_asks_a_block_size_for():
    assert config_checks.PROBE_TOKENS == SHORTEST
