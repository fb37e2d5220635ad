"""Any value at any key is accepted, and then plans, or refused in one line that names the key."""

import datetime
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvbench.plan import cells, queue, resources, weight_paths
from kvbench.plan.config import ConfigError, load_schema, resolve
from kvbench.plan.study import quality_presets, roofline_source

SCHEMA = load_schema()
WORDS = ["gpt2", "custom", "nano", "smollm2", "v1", "v9", "pairs", "auto", "hub", "cuda", "results"]
NUMBERS = [0, 1, 8, 1024, 2**31, 2**63, 2**64, 10**40, 2**2000, -1]
FLOATS = [3.0, 0.5, 1e-45, 1e300, float("nan"), float("inf")]
PATHS = [
    "/",
    "README.md",
    "config/schema.yaml",
    "src/x.jsonl",
    "a\0b",
    "x" * 5000,
    "{a}.jsonl",
    "~",
]


def keys(rule, path=()):
    """The path of every key in the schema, mappings included."""
    for key, part in rule.get("properties", {}).items():
        yield (*path, key)
        yield from keys(part, (*path, key))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS) | st.integers(-5, 5000),
    st.sampled_from(FLOATS) | st.floats(),
    st.sampled_from(WORDS + PATHS) | st.text(max_size=8),
    st.just(datetime.date(2026, 1, 1)) | st.just(b"bytes"),
)
text_or_not = st.sampled_from(WORDS) | st.none() | st.integers(0, 9) | st.text(max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text_or_not, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def studies(draw):
    """A configuration of one to three keys, some of them misspelt."""
    study = {}
    for path in draw(st.lists(st.sampled_from(list(keys(SCHEMA))), min_size=1, max_size=3)):
        inner = study
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                break
        else:
            inner[draw(st.sampled_from([path[-1]] * 9 + [path[-1] + "s"]))] = draw(values)
    return study


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


@settings(max_examples=2000, deadline=2000, suppress_health_check=list(HealthCheck))
@given(studies())
def test_a_study_plans_or_is_refused_in_one_line_that_names_a_key_of_it(study):
    try:
        config = resolve(study, SCHEMA)
    except ConfigError as refusal:
        line = str(refusal)
        assert "\n" not in line and len(line) < 1500
        assert line.startswith(("config key", "the configuration")), line
        assert any(str(key)[:60] in line for key in study) or "'study'" in line, line
    else:
        plan(config)
    assert os.listdir() == []


def plan(config):
    """What the Snakefile works out of a configuration, for one place of each benchmark."""
    assert queue.sample_queue(config)
    roofline_source(config)
    where = {"batch": "1", "T": "1", "depth": "1", "P": "1", "phase": "decode"}
    for preset in {*config["pretrained"], *quality_presets(config)}:
        assert resources.memory_mb(config, {"preset": preset, **where}) > 0
        assert resources.minutes(config, {"preset": preset, **where}) > 0
        for version in config["versions"]:
            path = weight_paths.weights_file(config, preset, version)
            assert path.endswith(".safetensors") and path.isprintable()
            for benchmark in (*config["benchmarks"], "capacity"):
                cell = cells.cell(config, benchmark, preset, version, **where)
                assert cell.layer_owner and type(cell.seed) is int
    weight_paths.training_job(config, "uptrained", "pairs")
    for benchmark in ("T_values", "batch_size", "pretrained", "versions"):
        assert all(type(item) in (int, str) for item in config[benchmark])
