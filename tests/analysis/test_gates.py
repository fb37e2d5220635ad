"""A gate's words, what each says of, and how often it would say it falsely."""

import copy
import json

import numpy as np
import pytest
import yaml
from made_scores import published, retrieval

from kvbench.analysis import false_failures, gate_table, gates, quality
from kvbench.analysis.answers import sections
from kvbench.plan import cells
from kvbench.plan.config import load_schema, resolve
from kvbench.report.tables import publish, table

MADE = ("v9", "v10")  # of no published study
CORRUPTED = {"windows": 2, "tokens": 500, "perplexity_ratio": 300.0, "kl": 5.0, "flips": 0.8}


def scored(version, ratio=None, flips=None, corrupted=CORRUPTED):
    """A published cell with an interval of its own, flips, and a corrupted reading."""
    cell = copy.deepcopy(published()["v2" if version in MADE else version]) | {"version": version}
    if ratio:
        cell["paired"]["perplexity_ratio"] = dict(zip(("low", "ratio", "high"), ratio, strict=True))
    share = flips or (0.01, 0.015, 0.02)
    cell["paired"]["flips"] = dict(zip(("low", "mean", "high"), share, strict=True))
    if corrupted:
        cell["corrupted"] = corrupted
    return cell


def reference(rms=1e-6):
    """v1 with a noise floor."""
    cell = scored("v1")
    n = 16
    rng = np.random.default_rng(0)
    floor = {"windows": n, "tokens": 511 * n, "window": list(range(n))}
    floor |= {"window_delta_nll": (rms * rng.standard_normal(n)).tolist()}
    floor |= {"window_kl": [rms] * n, "window_flips": [0.0] * n}
    floor |= {"perplexity_ratio": {"ratio": 1.0, "low": 1 - rms, "high": 1 + rms}}
    floor |= {"kl": {"mean": rms, "low": rms, "high": rms, "max": 3 * rms}}
    floor |= {"flips": {"mean": 0.0, "low": 0.0, "high": 0.0}, "delta_p": {"rms": rms}}
    return cell | {"noise_floor": floor}


def words(cells, **margins):
    asked = dict.fromkeys(gates.DEFAULTS) | margins
    return gates.judge(cells, asked)["versions"]


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (1.001, 1.01, "PASS"),
        (0.9, 0.95, "PASS"),
        (1.0101, 1.2, "FAIL"),
        (1.005, 1.02, "INCONCLUSIVE"),
        (1.01, 1.02, "INCONCLUSIVE"),
        (None, None, "INCONCLUSIVE"),
    ],
)
def test_a_word_is_of_the_whole_interval(low, high, word):
    assert gates.word(low, high, 1.01) == word


def test_a_version_passes_where_every_gate_does():
    good, bad = (1.001, 1.002, 1.003), (1.2, 1.3, 1.4)
    between = (1.005, 1.01, 1.02)
    asked = {"max_ppl_ratio": 1.01, "max_flips": 0.05}
    found = words(
        [
            *(reference(), scored("v2", good), scored("v5", bad), scored("v6", between)),
            *(scored("v9", good, (0.06, 0.07, 0.08)), scored("v10", bad, (0.04, 0.05, 0.06))),
        ],
        **asked,
    )
    assert found == {
        **{"v2": "PASS", "v5": "FAIL", "v6": "INCONCLUSIVE", "v9": "FAIL", "v10": "FAIL"},
    }
    assert words([reference(), scored("v2", good)]) == {}  # no margin, no word
    assert words([scored("v2", good)], **asked) == {"v2": "PASS"}


def test_a_gate_that_passes_a_corrupted_cache_says_not_sensitive():
    good = (1.001, 1.002, 1.003)
    blind = CORRUPTED | {"perplexity_ratio": 1.004}
    found = gates.judge([scored("v2", good, corrupted=blind)], {"max_ppl_ratio": 1.01})
    assert found["versions"] == {"v2": "not sensitive"}
    assert found["rows"][0]["corrupted"] == 1.004
    both = words([scored("v2", good, corrupted=blind)], max_ppl_ratio=1.01, max_flips=0.05)
    assert both == {"v2": "not sensitive"}  # though flips move
    bad = scored("v5", (1.2, 1.3, 1.4), corrupted=blind)
    assert words([bad], max_ppl_ratio=1.01) == {"v5": "FAIL"}
    nothing = CORRUPTED | {"perplexity_ratio": None}  # no finite number any more
    assert words([scored("v2", good, corrupted=nothing)], max_ppl_ratio=1.01) == {"v2": "PASS"}


def test_a_study_without_the_control_keeps_its_word_and_says_so(tmp_path):
    made = gate_table.table(
        [scored("v2", (1.001, 1.002, 1.003), corrupted=None)], {"max_ppl_ratio": 1.01}
    )
    assert made.record["versions"] == {"v2": "PASS"}
    assert "No corrupted cache was read of int8" in made.notes[-1]


def test_retrieval_is_a_gate_of_its_own():
    cells = [retrieval("v1"), retrieval("v2"), retrieval("v5", losing=0.4)]
    assert words(cells, max_retrieval_lost=0.1) == {"v2": "PASS", "v5": "FAIL"}
    assert words(cells, max_retrieval_lost=0.5) == {"v2": "PASS", "v5": "INCONCLUSIVE"}
    few = [retrieval("v1", items=4), retrieval("v2", items=4)]
    assert words(few, max_retrieval_lost=0.1) == {"v2": "INCONCLUSIVE"}  # none lost of too few
    assert words(cells[1:], max_retrieval_lost=0.1) == {}


def test_v1_against_itself_never_fails_and_a_cache_at_the_margin_seldom():
    found = gates.judge([reference(), scored("v2", (1.001, 1.002, 1.003))], gates.DEFAULTS)
    rates = {(row["version"], row["gate"]): row["false_failure"] for row in found["rows"]}
    assert rates["v1", "max_ppl_ratio"] == rates["v1", "max_flips"] == 0.0
    assert rates["v2", "max_ppl_ratio"] <= 0.06 and rates["v2", "max_flips"] <= 0.06
    noisy = gates.judge([reference(rms=0.02)], {"max_kl": 0.001})
    (row,) = noisy["rows"]
    assert row["word"] == "FAIL" and row["false_failure"] == 1.0
    assert "v1 itself does not pass KL" in gate_table.notes(noisy, [reference()])[1]


def test_a_rate_of_false_failures_is_that_of_the_interval():
    rng = np.random.default_rng(3)
    one, tokens = rng.standard_normal(64), np.full(64, 100.0)
    at = one - one.mean()
    assert 0.0 <= false_failures.share(at, tokens, None, 0.0) <= 0.06  # 2.5 % of 200
    assert false_failures.share(at + 5, tokens, None, 0.0) == 1.0
    assert false_failures.share(np.full(64, 0.05), tokens, None, 0.05) == 0.0  # no spread
    documents = np.arange(64) // 4
    assert false_failures.share(at, tokens, documents, 0.0) <= 0.06
    assert false_failures.share(at[:1], tokens[:1], None, 0.0) is None
    assert false_failures.limit("delta_nll", 1.01) == pytest.approx(np.log(1.01))


def test_words_stand_in_every_table_and_answer(tmp_path):
    cells = [reference(), scored("v2", (1.001, 1.002, 1.003)), scored("v5", (1.2, 1.3, 1.4))]
    made = gate_table.table(cells, gates.DEFAULTS)
    json.dumps(made.record, allow_nan=False)
    publish(made, tmp_path / "g.md", tmp_path / "g.csv")
    text = (tmp_path / "g.md").read_text()
    assert "PASS" in text and "FAIL" in text and "300.0" in text and "0.0 %" in text
    shown = table([*cells, made.record], "perplexity")
    publish(shown, tmp_path / "q.md", tmp_path / "q.csv")
    text, csv = ((tmp_path / name).read_text() for name in ("q.md", "q.csv"))
    assert "| gate" in text and "Noise floor" in text and "Control, KL" in text
    assert "FAIL by perplexity ratio" in csv and "kl_max_floor" in csv
    (section,) = sections([], cells, gates=[made.record])
    said = {answer.version: answer for answer in section.answers}
    assert said["v2"].gate == "PASS" and str(said["v2"]).endswith("; PASS")
    assert said["v5"].gate == "FAIL by perplexity ratio" and "FAIL" in str(said["v5"])
    assert section.about.endswith("gates: perplexity ratio up to 1.01, flips up to 5 %")


def test_the_first_divergence_has_an_interval_over_prompts():
    first = [3, 9, 4, None, 12, 7]
    cell = {"divergence": {"first": first, "tokens": 48}}
    assert quality.diverging(cell) == (8.0, 3.0, 48.0)


def test_margins_are_no_part_of_what_is_measured():
    made = [
        cells.make(config, "perplexity", preset="nano", version="v2").param()
        for margin in (1.01, 1.5)
        for config in [resolve({"quality": {"max_ppl_ratio": margin}}, load_schema())]
    ]
    assert made[0] == made[1]


def test_what_is_asked_by_default_is_the_schema_s():
    assert resolve({}, load_schema())["quality"] == gates.DEFAULTS
    with open("config/schema.yaml") as file:
        assert set(yaml.safe_load(file)["properties"]["quality"]["properties"]) == set(gates.GATES)


def test_margins_that_a_study_does_not_give_are_those_of_the_schema():
    assert resolve({}, load_schema())["quality"] == gates.DEFAULTS
