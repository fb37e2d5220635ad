"""Every figure asks a question, answers it with numbers, and shows only what was measured."""

import json
import re
from importlib import import_module
from pathlib import Path

import pytest
from made_scores import retrieval
from matplotlib import pyplot as plt

from kvbench.analysis import answers, findings, verdicts
from kvbench.analysis.roofline import point
from kvbench.benchmarks import BENCHMARKS
from kvbench.plan import targets
from kvbench.plan.config import load_schema, resolve
from kvbench.report.figures import facets, scales, style
from kvbench.report.figures.roofline_labels import change
from kvbench.stats.decisions import FASTER, INCONCLUSIVE, SLOWER

PUBLISHED = Path("published/cpu-amd-epyc-avx2")


def lines(name="", benchmark=None, preset=None):
    records = map(json.loads, (PUBLISHED / name / "results.jsonl").read_text().splitlines())
    return [
        record
        for record in records
        if benchmark in (None, record["benchmark_name"]) and preset in (None, record["pretrained"])
    ]


def roofs(name):
    return json.loads((PUBLISHED / name / "roofs.json").read_text())


def judged(cells):
    return [*cells, verdicts.judge(cells, margin=0.02)]


DRAWN = {
    "latency": lambda: lines("", "latency_vs_T"),
    "speedup": lambda: judged(lines("", "latency_vs_T")),
    "vram": lambda: lines("", "vram_vs_T"),
    "phase": lambda: lines("", "phase"),
    "perplexity": lambda: lines("", "perplexity", "smollm2"),
    "degradation": lambda: lines("quality"),
    "retrieval": lambda: [retrieval("v1"), retrieval("v2"), retrieval("v5", losing=0.4)],
    "tradeoff": lambda: lines("", "latency_vs_T"),
    "roofline": lambda: [*lines("", "roofline"), roofs("gains")],
    "decode": lambda: judged(lines("depth_batch", "decode")),
    "attribution": lambda: [*lines("gains"), roofs("gains")],
}
OTHER = {  # the same families on other records
    "perplexity of nano": ("perplexity", lambda: lines("", "perplexity", "nano")),
    "perplexity of eleven caches": ("perplexity", lambda: lines("quality")),
    "tradeoff of quality": ("tradeoff", lambda: lines("quality")),
    "decode of gpt2": ("decode", lambda: judged(lines("gains", "decode"))),
    "one process": ("speedup", lambda: judged(alone("latency_vs_T"))),
    "latency of one process": ("latency", lambda: alone("latency_vs_T")),
    "decode of one process": ("decode", lambda: judged(alone("decode", "depth_batch"))),
}
EVERY = {name: (name, make) for name, make in DRAWN.items()} | OTHER


def alone(benchmark, name=""):
    """Cells as one process would have measured them."""
    interval = {"low": None, "high": None}
    return [
        cell
        | {"processes": cell["processes"][:1], "replicates": 1}
        | {key: interval for key in ("time_total_ms_interval", "tpot_ms_interval") if key in cell}
        for cell in lines(name, benchmark)
    ]


def drawn(family, records):
    figure = import_module(f"kvbench.report.figures.{family}").draw(records)
    plt.close(figure)  # it can still be looked at
    return figure


@pytest.fixture(scope="module")
def figures():
    made = {name: drawn(family, make()) for name, (family, make) in EVERY.items()}
    for figure in made.values():
        figure.draw_without_rendering()
    return made


def texts(figure):
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def test_every_family_is_drawn_here_or_in_the_test_of_its_benchmark():
    assert set(targets.FIGURES) - set(DRAWN) == {"executions", "peers"}


@pytest.mark.parametrize("name", EVERY)
def test_a_figure_asks_and_answers_with_numbers_inside_its_edges(figures, name):
    figure = figures[name]
    assert figure.get_suptitle().endswith("?")
    title, answer, foot = figure.texts
    assert re.search(r"\d", answer.get_text()) and "AMD EPYC" in foot.get_text()
    assert answer.get_fontsize() < title.get_fontsize()
    for text in (title, answer, foot):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
    panels = [axes.get_tightbbox() for axes in figure.axes if axes.axison]
    assert all(panel.y1 < answer.get_window_extent().y0 + 1 for panel in panels)
    assert all(panel.y0 > foot.get_window_extent().y1 - 1 for panel in panels)
    assert all(panel.x0 > -1 and panel.x1 < figure.bbox.x1 + 1 for panel in panels)


def numeric(axes):
    """The axes of numbers, with the labels in view: those of names and of a map are not."""
    if axes.images:
        return
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        low, high = sorted(limits)
        ticks = zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=False)
        shown = {label.get_text() for label, at in ticks if low <= at <= high} - {""}
        if any(text[-1].isdigit() and text[0] != "v" for text in shown):
            yield axis, shown


@pytest.mark.parametrize("name", EVERY)
def test_an_axis_has_four_numbers_and_says_where_it_is_a_log_scale(figures, name):
    found = [one for axes in figures[name].axes if axes.axison for one in numeric(axes)]
    assert found
    for axis, shown in found:
        label, of_a_map = axis.get_label_text(), axis.axes.get_label() == "<colorbar>"
        assert len(shown) >= 4, (label, shown)
        assert ("(log scale" in label) == (axis.get_scale() != "linear" or of_a_map), label


@pytest.mark.parametrize("name", DRAWN)
def test_equal_records_give_equal_bytes_whose_title_is_the_question(name, tmp_path):
    for file in ("one.svg", "two.svg"):
        style.save(drawn(name, DRAWN[name]()), tmp_path / file)
    svg = (tmp_path / "one.svg").read_text()
    assert svg == (tmp_path / "two.svg").read_text()
    assert re.search(r"<dc:title>[^<]*\?</dc:title>", svg)


def test_one_sample_is_hollow_and_the_foot_says_so(figures):
    for name in ("one process", "latency of one process"):
        assert style.HOLLOW in texts(figures[name])
        faces = {
            line.get_markerfacecolor()
            for axes in figures[name].axes
            for line in axes.lines
            if line.get_marker() not in ("None", "_", "|", "") and len(line.get_xdata()) == 1
        }
        assert faces == {"white"}
    assert "one process: no interval" in texts(figures["decode of one process"])
    assert style.HOLLOW not in texts(figures["latency"])
    point = facets.hollow([(1.0, 2.0, float("nan"), float("nan"))])
    assert point == style.HOLLOW and facets.hollow([(1.0, 2.0, 1.5, 2.5)]) == ""


def failed(records):
    """The same cells, none of which could be measured."""
    kept = ("benchmark_name", "version", "version_description", "pretrained", "batch_size", "T")
    kept += ("cache", "cross_layer_sharing", "weights_variant", "phase", "depth", "P", "use_cache")
    kept += ("prompt_length", "dtype", "device", "device_name", "threads", "weights", "text")
    return [
        {key: record[key] for key in kept if key in record} | {"error": "out of memory"}
        for record in records
        if record["benchmark_name"] not in ("verdicts", "roofs")
    ]


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("name", DRAWN)
def test_fewer_than_two_points_are_explained_in_one_line(name, left):
    records = DRAWN[name]()
    cells = [r for r in records if r["benchmark_name"] not in ("verdicts", "roofs")]
    cells = [cells[0], *failed(cells[1:])] if left else failed(cells)
    others = [r for r in records if r["benchmark_name"] == "roofs"]
    others += [verdicts.judge(cells, 0.02)] if name in ("speedup", "decode") else []
    figure = drawn(name, [*cells, *others])
    assert not figure.axes and figure.get_suptitle().endswith("?")
    assert figure.texts[1].get_text().startswith("Not drawn: ")
    assert figure.get_figheight() < 1.5
    figure.draw_without_rendering()


def test_a_phase_figure_names_those_it_leaves_out(figures):
    said = texts(figures["phase"])
    assert "left out: none (v0) 1.10, dense-shared (v3) 1.06 times the plain time" in said
    rows = [label.get_text() for label in figures["phase"].axes[0].get_yticklabels()]
    assert rows == [
        "dense (v1): 282 ms (0.99)",
        "int8 (v2): 322 ms (1.01)",
        "int8-shared (v4): 277 ms (0.94)",
    ]


def test_a_tradeoff_says_which_key_asks_for_what_it_lacks(figures):
    assert "no quality: random weights have none to lose; the key `weights`" in texts(
        figures["tradeoff"]
    )
    assert "no time: add smollm2 to the key `pretrained`" in texts(figures["tradeoff of quality"])


@pytest.mark.parametrize(
    "presets, quality, listed", [(["gpt2"], ["nano"], set()), (["gpt2", "nano"], [], {"nano"})]
)
def test_a_figure_of_two_benchmarks_is_listed_where_both_measure(presets, quality, listed):
    given = {"pretrained": presets, "perplexity": {"presets": quality}, "study": "s"}
    config = resolve(given, load_schema(), name="s")
    files = targets.every_figure(config)
    joined = {p for p in (*presets, *quality) if f"<results>/figures/tradeoff_{p}.svg" in files}
    assert joined == listed
    tables = targets.every_table(config)
    assert {p for p in (*presets, *quality) if f"<results>/tables/tradeoff_{p}.md" in tables} == (
        listed
    )
    assert (targets.TRADEOFF.format(preset="nano") in targets.page_records(config)) == bool(listed)
    assert "<results>/figures/latency_gpt2.svg" in files
    assert all(f"<results>/figures/perplexity_{p}.png" in files for p in [*listed, *quality])
    assert targets.every_figure(config, "vram") == [
        f"<results>/figures/vram_{p}.{form}" for p in presets for form in ("svg", "png")
    ]


def test_a_time_under_the_roof_has_its_interval_and_no_change_that_noise_explains(figures):
    cells = {(c["version"], c["phase"]): c for c in lines("", "roofline")}
    here = cells["v1", "decode"]
    found = findings.kernel_times(here)
    assert found.replicates == len(here["runs"]) and found.low < here["time_ms_median"] < found.high
    assert "time not distinguished" in change(
        cells["v1", "prefill"], cells["v2", "prefill"], roofs("gains")
    )
    slower = change(cells["v1", "decode"], cells["v2", "decode"], roofs("gains"))
    assert re.search(r"time \+\d+ %", slower)
    whole = figures["roofline"].axes[0]
    at = point(here, roofs("gains"))
    bars = [line for line in whole.lines if list(line.get_xdata()) == [at.intensity] * 2]
    ends = [at.flop / ms / 1e6 for ms in (found.high, found.low)]
    assert any(list(line.get_ydata()) == pytest.approx(ends) for line in bars)
    assert "95 % intervals over the runs of one process" in texts(figures["roofline"])


def test_no_label_of_a_roofline_covers_another(figures):
    for axes in figures["roofline"].axes:
        boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
        for place, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[place + 1 :])


def row(version, batch, depth, word, speedup):
    place = {"version": version, "baseline": "v1", "batch_size": batch, "depth": depth}
    ends = {"speedup": speedup, "speedup_low": speedup - 0.1, "speedup_high": speedup + 0.1}
    return place | ends | {"verdict": word}


NAMES = {"v1": "dense", "v2": "int8"}


@pytest.mark.parametrize(
    "words, sentence",
    [
        (
            [SLOWER, INCONCLUSIVE, INCONCLUSIVE, FASTER],
            "int8 is faster than dense at batch 8 from depth 100 on, most at batch 8, depth 100: "
            "1.40 [1.30, 1.50] times; slower at batch 1 at depth 10",
        ),
        ([FASTER] * 4, "int8 is faster than dense everywhere, most at batch 8, depth 100: 1.40"),
        ([INCONCLUSIVE] * 4, "int8 is nowhere shown faster than dense: 1.40 [1.30, 1.50] times at"),
        ([SLOWER] * 4, "int8 is slower than dense: 1.40 [1.30, 1.50] times at batch 8, depth 100"),
        ([INCONCLUSIVE] * 2 + [FASTER] * 2, "int8 is faster than dense at batch 8, most at"),
    ],
)
def test_where_a_version_pays_is_said_by_the_verdicts(words, sentence):
    places = [(1, 10), (1, 100), (8, 10), (8, 100)]
    rows = [
        row("v2", *at, word, 1.1 + n / 10)
        for n, (at, word) in enumerate(zip(places, words, strict=True))
    ]
    assert findings.places(rows, NAMES).startswith(sentence)
    flagged = [one | {"flag": "error: above ceiling"} for one in rows]
    assert findings.places(flagged, NAMES).endswith(
        "; 4 of 4 above their ceiling, not to be believed"
    )
    assert "is faster" not in findings.places(flagged, NAMES)
    lost = [{"version": "v2", "baseline": "v1", "verdict": "not compared: v2 out of memory"}]
    assert findings.places(lost, NAMES) == "int8 against dense: not compared: v2 out of memory"


def test_other_implementations_have_their_own_mark_and_sentence():
    cells = lines("gains", "decode")
    cells = [c | {"kernel": "torch"} if c["version"] == "v2" else c for c in cells]
    record = verdicts.judge(cells, margin=0.02)
    figure = drawn("decode", [*cells, record])
    squares = [text.get_text() for text in figure.axes[0].texts]
    assert all("≠" in square for square in squares)
    assert "≠ implementations differ" in texts(figure)
    said = answers.speed(record, {"v1": "dense", "v2": "int8"})[0]
    assert said.word == verdicts.IMPLEMENTATIONS
    assert str(said).startswith("int8 and dense ran on other implementations, so that ")
    assert "kernels torch against native" in str(said)


def test_of_many_answers_the_furthest_from_no_difference_are_shown():
    cells = [{"version": f"v{n}", "cache": f"c{n}", "cross_layer_sharing": False} for n in range(9)]
    words = [FASTER] + [INCONCLUSIVE] * 3 + [SLOWER] + [FASTER] * 3
    speeds = (1.05, 1.4, 1.01, 1.0, 0.5, 1.3, 1.2, 1.1)
    rows = [
        row(f"v{n}", 1, 9, word, speed) | {"replicates": 5, "flag": None}
        for n, (word, speed) in enumerate(zip(words, speeds, strict=True), start=2)
    ]
    record = {"pretrained": "gpt2", "dtype": "float32", "level": 0.95, "margin": 0.02, "rows": rows}
    said = findings.paragraph(answers.speed_section(record, cells, "depth"))
    named = re.findall(r"(?:^.*?: |; )c(\d)|; v9", said)
    assert said.startswith("Batch 1, depth 9: ") and said.endswith("; 4 more in the table")
    assert re.findall(r"c(\d) is", said) == ["6", "7", "8"] and "v9 is" in said, named
    assert findings.paragraph(None) == "no pair of caches to compare"


@pytest.mark.parametrize(
    "measured, shown, label",
    [
        ([32, 128], ["32", "60", "80", "100", "128"], "T, tokens generated"),
        ([8, 16], ["8", "10", "12", "14", "16"], "T, tokens generated"),
        ([16, 512], ["16", "32", "64", "128", "256", "512"], "T, tokens generated (log scale)"),
        ([16], ["12", "14", "16", "18", "20"], "T, tokens generated"),
    ],
)
def test_an_axis_of_lengths_names_the_measured_and_round_ones_between(measured, shown, label):
    figure, axes = plt.subplots()
    axes.plot(measured, measured, "o")
    scales.lengths(axes, measured)
    figure.draw_without_rendering()
    low, high = axes.get_xlim()
    named = {
        t.get_text(): at for t, at in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
    }
    assert [text for text, at in named.items() if low <= at <= high] == shown
    assert axes.get_xlabel() == label
    plt.close(figure)


@pytest.mark.parametrize(
    "values, kind",
    [([1, 19], "linear"), ([1, 21], "log"), ([0, 100], "linear"), ([-3, 9], "linear")],
)
def test_a_log_scale_is_for_values_far_apart(values, kind):
    figure, axes = plt.subplots()
    axes.plot(values, [0, 0], "o")
    scales.fit(axes, "x", values, "ms")
    assert axes.get_xscale() == kind and ("(log scale)" in axes.get_xlabel()) == (kind == "log")
    plt.close(figure)


@pytest.mark.parametrize("low, high", [(0.9, 1.3), (3, 60), (1, 1e4), (1e-9, 1e9), (0.02, 0.03)])
def test_ticks_of_a_log_axis_are_four_to_eight_round_numbers(low, high):
    ticks = [tick for tick in scales.LogTicks().tick_values(low, high) if low <= tick <= high]
    assert 4 <= len(ticks) <= 10
    assert all(len(f"{tick:.10g}".replace(".", "").strip("0").split("e")[0]) <= 3 for tick in ticks)


def test_every_figure_of_the_registry_is_a_module():
    for line in BENCHMARKS.values():
        for figure in line.figures:
            assert callable(import_module(f"kvbench.report.figures.{figure}").draw)
