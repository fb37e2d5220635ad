"""A cache of one's own is checked before it is measured: what it lacks is named."""

import pytest
import torch
from stored import stored

from kvbench import check_cache
from kvbench.caches import Cache, cache_class
from kvbench.caches.dense import KVCache as Dense
from kvbench.caches.int8 import KVCache as Int8
from kvbench.costs.layout import equal_rows
from kvbench.versions import VERSIONS, cache_name

CACHES = dict.fromkeys(cache_name(version) for version in VERSIONS)


@pytest.mark.parametrize("name", [name for name in CACHES if name != "none"])
def test_every_cache_of_the_registry_can_be_measured(name):
    found = check_cache(stored(name))
    assert found.ok, str(found)
    assert any("no rows(layer)" in note for note in found.notes) != hasattr(
        cache_class(stored(name)), "rows"
    )


class NoScales(Int8):
    """Forgets that its scales outlive a step."""

    def storages(self):
        for layer in self.layers:
            yield from self.held(layer)[:2]


class OneRowLate(Dense):
    """Attends without the newest token."""

    def attend(self, layer, q):
        self.k[layer][:, :, self.length + q.size(2) - 1] = 0
        return super().attend(layer, q)


class NeverForgets(Dense):
    """After a rewind nothing new is stored."""

    rewound = False

    def rewind(self, length):
        super().rewind(length)
        self.rewound = True

    def update(self, layer, k, v):
        if not self.rewound:
            super().update(layer, k, v)


class OwnCodes(Int8):
    """Codes that no kernel writes."""

    def encode(self, k, v):
        rounded = [x.round().clamp(-127, 127).to(torch.int8) for x in (k, v)]
        return rounded[0], k[..., 0] * 0 + 1, rounded[1], v[..., 0] * 0 + 1


class WrongDtype(Dense):
    def attend(self, layer, q):
        return super().attend(layer, q).double()


class NoLayout(Dense):
    @classmethod
    def layout(cls, head_dim, itemsize):
        return 2 * head_dim * itemsize


class WrongLayout(Dense):
    @classmethod
    def layout(cls, head_dim, itemsize):
        return equal_rows(head_dim)


class Breaks(Dense):
    def update(self, layer, k, v):
        raise RuntimeError("two\nlines")


class Wide(Dense):
    def rows(self, layer):
        return self.k[layer].flatten(2), self.v[layer], None, None


class Partial(Cache):
    def update(self, layer, k, v):
        pass


@pytest.mark.parametrize(
    "wrong, words",
    [
        (NoScales, "storages() hold"),
        (OneRowLate, "token by token"),
        (NeverForgets, "again after rewind()"),
        (OwnCodes, "rows(layer) holds other numbers of K"),
        (WrongDtype, "attend() returns (2, 3, 73, 16) in torch.float64"),
        (NoLayout, "returns no kvbench.costs.layout.Layout"),
        (WrongLayout, "layout() says"),
        (Breaks, "RuntimeError: two lines"),
        (Wide, "rows(layer) gives K of shape"),
        (Partial, "attend(layer, q) is missing: Causal attention"),
        (Partial, "layout(head_dim, itemsize) is missing"),
        (Partial, "storages() is missing"),
        (dict, "not a subclass of kvbench.caches.Cache"),
        ("no_such_cache", "ModuleNotFoundError"),
        ("nowhere/mine.py", "nowhere/mine.py' to load"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_missing_is_said_in_a_line_each(wrong, words):
    found = check_cache(wrong)
    assert not found.ok and any(words in problem for problem in found.problems), str(found)
    assert not any("\n" in problem for problem in found.problems)
    assert "not a cache yet" in str(found)


def test_a_file_holds_a_cache(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from kvbench.caches.int8 import KVCache\n")
    assert check_cache(str(path)).ok
    assert cache_class(str(path)) is cache_class(str(path))
    path = tmp_path / "broken.py"
    path.write_text("import nothing_of_this_name\n")
    assert "No module named 'nothing_of_this_name'" in str(check_cache(str(path)))
    path.write_text("x = 1\n")
    assert "has no attribute 'KVCache'" in str(check_cache(str(path)))
