"""What fits into this machine's memory, said before it is taken."""

import pytest

from kvbench.bench.setup import least_bytes, ready
from kvbench.job.memory import available, check_memory
from kvbench.plan.cells import cell
from kvbench.plan.config import load_schema, resolve

STUDY = {"pretrained": "qwen3-0.6b", "dtype": "bfloat16", "device": "cpu"}
STUDY |= {"roofline": {"P": 20}, "perplexity": {"presets": []}}


def test_a_cell_that_cannot_fit_says_so_in_one_line_before_anything_is_read():
    config = resolve(STUDY, load_schema())
    wide = cell(config, "decode", "qwen3-0.6b", "v1", batch=10_000, depth=8192)
    weights, cache = least_bytes(wide)
    assert weights == 2 * 596_049_920 and cache == 10_000 * 8192 * 114_688
    with pytest.raises(MemoryError) as refused, ready(wide, "no such file"):
        pass
    line = str(refused.value)
    assert "weights 1.1 GiB and cache 8750.0 GiB do not fit" in line and "\n" not in line


def test_windows_make_a_cache_smaller_before_it_is_there():
    config = resolve(STUDY | {"pretrained": "gemma-3-1b"}, load_schema())
    long = cell(config, "decode", "gemma-3-1b", "v1", batch=1, depth=8192)
    assert least_bytes(long)[1] == 2 * 256 * 2 * (4 * 8192 + 22 * 512)


@pytest.mark.parametrize(
    "free, limit, used, expected",
    [
        (10, "max", "5", 10_240),
        (10, "4096", "1024", 3072),
        (10, "1024", "4096", 0),
        (10, "", "", 10_240),
    ],
)
def test_a_limit_of_the_group_counts(tmp_path, free, limit, used, expected):
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:   {free} kB\n")
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text(used)
    assert available(tmp_path / "meminfo", tmp_path) == expected


def test_a_system_that_says_nothing_refuses_nothing(tmp_path, monkeypatch):
    assert available(tmp_path / "none") is None
    monkeypatch.setattr("kvbench.job.memory.available", lambda: None)
    check_memory(10**18, 0)
