"""v2 to v11 store and compute what they did when each was a module of its own."""

import hashlib

import pytest
import torch
from stored import stored

from kvbench.caches import make
from kvbench.models.gpt2 import Config

# By those modules: a digest of all codes after 300 tokens, and means of attention over channels.
BEFORE = {
    "int8": ("bdf9a928773a01ea", [-0.000942, 0.021279, -0.015983, 0.04121, 0.038747, -0.0185]),
    "int4": ("f8a5e231707d1bb5", [0.021802, 0.028107, -0.026707, 0.038736, 0.042603, -0.015336]),
    "int4_channel": (
        "abdedb5ffbe3e6f4",
        [0.001598, 0.026942, -0.017533, 0.044989, 0.042749, -0.018976],
    ),
    "int8_channel": (
        "21ba320d4be2897f",
        [-0.001274, 0.021181, -0.015902, 0.041636, 0.038963, -0.018758],
    ),
    "int4_centred": (
        "d3dde0e4b0d8b33f",
        [-0.00125, 0.017312, -0.014372, 0.040896, 0.039039, -0.011966],
    ),
    "int4_hadamard": (
        "6071d3905a24377a",
        [-0.004061, 0.002993, -0.018683, 0.045763, 0.046941, -0.017076],
    ),
    "window": ("e3b0c44298fc1c14", [-0.00125, 0.021104, -0.016113, 0.04154, 0.039039, -0.018097]),
    "window_int4": (
        "29eecc5f4dfb8a5b",
        [-0.004061, 0.002993, -0.018683, 0.045763, 0.046941, -0.017076],
    ),
}


def digest(tensors):
    whole = (x.contiguous().view(torch.uint8).numpy().tobytes() for x in tensors)
    each = sorted(hashlib.sha256(text).hexdigest() for text in whole)
    return hashlib.sha256("".join(each).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", BEFORE)
def test_codes_and_attention_are_as_before(name):
    draw = torch.Generator().manual_seed(11)
    q, k, v = torch.randn(3, 2, 3, 300, 32, generator=draw)
    k *= torch.linspace(0.5, 3, 32)
    config = Config(1, n_head=3, n_embd=96, block_size=512, vocab_size=9)
    cache, found = make(stored(name), config, 2, 300, torch.zeros(1)), []
    for part in zip(*(x.split([200, 1, 1, 70, 1, 27], 2) for x in (q, k, v)), strict=True):
        cache.update(0, *part[1:])
        found.append(cache.attend(0, part[0]))
        cache.advance(part[0].size(2))
    codes, numbers = BEFORE[name]
    means = torch.cat(found, 2)[:, :, 60::60].mean(-1).flatten()[:6]
    torch.testing.assert_close(means, torch.tensor(numbers), rtol=0, atol=1e-4)
    if name not in ("window", "int4_hadamard", "window_int4"):  # no codes, or of rounded products
        assert digest(x for x in cache.storages() if not x.is_floating_point()) == codes
