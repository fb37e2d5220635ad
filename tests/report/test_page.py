"""The page of a study in a real browser: what is said, where it stands, and what can be done."""

import json
import os
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from project import ROOT
from studies import PUBLISHED, published, study

from kvbench.analysis import tradeoff
from kvbench.analysis.sentences import CHOICE, SPEED
from kvbench.cli.main import main
from kvbench.plan.code_inputs import reachable
from kvbench.records.read import MixedRecordsError
from kvbench.records.record import TIMED
from kvbench.records.store import write_lines, write_record
from kvbench.report.page import html, table
from kvbench.report.page.compared import compare, sentence
from kvbench.report.page.plots import DRAWN
from kvbench.report.page.study import Study, read_study
from kvbench.stats.digits import spoken

SIZES = [(1400, 900), (390, 844)]
MOST = 2_500_000  # bytes of a page
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


def without(made, *benchmarks):
    """A study less the cells of these benchmarks, by the names in their records."""
    return study([r for r in made.records if r["benchmark_name"] not in benchmarks], made.roofs)


def one_process(record):
    """A timed record with its first process alone."""
    if record["benchmark_name"] not in TIMED:
        return record
    key = "time_total_ms_interval" if "T" in record else "tpot_ms_interval"
    interval = record[key] | {"low": None, "high": None, "replicates": 1}
    alone = {"processes": record["processes"][:1], "replicates": 1, "disturbed": 1}
    return record | alone | {key: interval}


def out_of_memory(record):
    """The cell of a version that had no room."""
    if record["version"] != "v2" or record["benchmark_name"] not in (*TIMED, "vram_vs_T"):
        return record
    keys = ("benchmark_name", "version", "version_description", "pretrained", "batch_size")
    keys += ("T", "dtype", "weights", "cache", "cross_layer_sharing", "prompt_length")
    kept = {key: record[key] for key in keys if key in record}
    return kept | {"error": "out of memory", "error_detail": "DefaultCPUAllocator: no room"}


def many(made):
    """A study of 300 decode cells, the published ones at other batches and depths."""
    cells = [r for r in made.records if r["benchmark_name"] == "decode"]
    first = {r["version"]: r for r in cells}
    return study(
        deepcopy(record) | {"batch_size": 2**batch, "depth": 8 * (depth + 1)}
        for record in first.values()
        for batch in range(10)
        for depth in range(10)
    )


def both():
    """A study of generations and of steps at a depth."""
    return study([*published().records, *published("gains").records], published("gains").roofs)


STUDIES = {
    "whole": lambda: published(),
    "gains": lambda: published("gains"),
    "depth": lambda: published("depth_batch"),
    "lengths and depths": lambda: both(),
    "two models": lambda: study([*published().records, *published("depth_batch").records]),
    "quality": lambda: published("quality"),
    "formats": lambda: published("../cpu-intel-xeon-avx512/formats"),
    "no quality": lambda: without(published(), "perplexity"),
    "no memory": lambda: without(published(), "vram_vs_T", "phase", "roofline"),
    "one version": lambda: study(r for r in published().records if r["version"] == "v1"),
    "one process": lambda: study(map(one_process, published().records)),
    "out of memory": lambda: study(map(out_of_memory, published().records)),
    "nothing": lambda: study([]),
}


@cache
def known(name):
    """A study of STUDIES, made once."""
    return STUDIES[name]()


RENDERED = {}  # by the study's id


def rendered(made):
    """The page of a study, which stays as it is, rendered once."""
    _, page = RENDERED.setdefault(id(made), (made, cache(lambda: html.render(made))))
    return page()


@pytest.fixture(scope="module")
def browser_():
    """The distribution's browser, without a window and without a network."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: extra `dev`")
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def shown(browser_, tmp_path):
    """Opens a study's page in a tab of its own, and fails on a message, an error or a request."""
    said, contexts = [], []

    def show(made, width=1400, height=900, ready=True, **options):
        file = tmp_path / "report.html"
        file.write_text(made if isinstance(made, str) else rendered(made), encoding="utf-8")
        context = browser_.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: said.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: said.append(f"error: {error}"))
        tab.on("request", lambda asked: said.append(asked.url))
        tab.goto(file.as_uri())
        if ready:
            tab.wait_for_selector("html[data-ready]", state="attached")
        said[:] = [line for line in said if line != file.as_uri() and not line.startswith("data:")]
        return tab

    yield show
    for context in contexts:
        context.close()
    assert said == []


def box(tab, selector):
    return tab.locator(selector).first.bounding_box()


@pytest.mark.parametrize("width,height", SIZES)
def test_the_answers_are_in_sight(shown, width, height):
    tab = shown(published(), width, height)
    titles = tab.locator("h2").all()[:3]
    asked = [words for question, words in html.QUESTIONS.items() if question != CHOICE]
    assert [title.inner_text() for title in titles] == asked
    for n in range(3):
        first = tab.locator(".card").nth(n).locator("li").first.bounding_box()
        assert first["y"] + first["height"] <= height
    asked = box(tab, ".asked")
    assert asked["y"] + asked["height"] < height / 2
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_a_page(shown, name):
    tab = shown(known(name))
    for width, height in SIZES:
        tab.set_viewport_size({"width": width, "height": height})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for card in tab.locator(".card").all():  # an answer, or why there is none
        assert card.locator(".sentence, .missing").count()
    drawn = tab.locator(".plot svg").count()
    assert drawn == tab.locator(".plot").count()
    assert drawn + tab.locator(".absent dt").count() == len(DRAWN)
    for line in tab.locator(".missing, .absent dd").all():
        assert line.text_content().strip().endswith(".")


@pytest.mark.parametrize("name", ["whole", "depth", "one process", "out of memory"])
def test_each_sentence_is_that_of_its_record(shown, name):
    made = known(name)
    tab = shown(made)
    found = tab.locator(".sentence").all_text_contents()
    answers = [answer for section in made.sections for answer in section.answers]
    assert sorted(found) == sorted(answer.text for answer in answers)
    for section in (s for s in made.sections if s.question == SPEED):
        record = next(r for r in made.verdicts if r["pretrained"] == section.preset)
        for answer in section.answers:
            row = next(row for row in record["rows"] if row == answer.row)
            item = tab.locator(f'[data-question="speed"] > ul [data-version="{row["version"]}"]')
            if "speedup" not in row:
                assert row["verdict"] in item.inner_text()
                continue
            assert item.get_attribute("class") == row["verdict"]
            numbers = [row[key] for key in ("speedup", "speedup_low", "speedup_high")]
            assert spoken(*numbers, apart_from=1) in item.inner_text()


def test_the_answers_of_every_other_place_are_one_click_away(shown):
    made = published("depth_batch")
    tab = shown(made)
    assert not tab.locator(".elsewhere li").first.is_visible()
    tab.get_by_text("At other batches and lengths (8)").click()
    first = tab.locator(".elsewhere li").first
    assert first.is_visible() and first.get_attribute("class") == "slower"
    (row,) = (r for r in made.verdicts[0]["rows"] if r["verdict"] == "slower")
    assert tab.locator(".elsewhere h3").first.inner_text() == "nano, batch 1, depth 16"
    assert spoken(*(row[f"speedup{end}"] for end in ("", "_low", "_high"))) in first.inner_text()
    assert tab.locator(".elsewhere li").count() == 16


def test_the_table_shows_the_place_that_is_chosen(shown):
    made = published("depth_batch")
    tab = shown(made)
    rows = "#table tbody:not([hidden])"
    assert tab.locator(rows).count() == 3
    tab.select_option("#place", "nano|1|depth16")
    names = tab.locator(f"{rows} .name").all_inner_texts()
    assert names == ["dense", "int8", "int8-shared"]
    record = made.verdicts[0]["rows"][0]
    assert record["version"] == "v2" and record["batch_size"] == 1 and record["depth"] == 16
    field = tab.locator(f'{rows}[data-version="v2"] td[data-label="Speed-up"]')
    numbers = [record[key] for key in ("speedup", "speedup_low", "speedup_high")]
    assert field.inner_text().splitlines()[0].strip() == spoken(*numbers, apart_from=1)
    assert tab.locator("#plot-speedup svg").get_by_text("int8 over dense").count() == 1


def test_time_is_drawn_over_what_the_place_is_of(shown):
    tab = shown(known("lengths and depths"))
    for place, ticks in (("gpt2|1|T8", ["8", "16"]), ("gpt2|16|depth512", ["32", "512"])):
        tab.select_option("#place", place)
        tab.wait_for_function("p => document.documentElement.dataset.shown === p", arg=place)
        labels = tab.locator("#plot-time .role-axis").nth(2).locator("text")
        assert [text for text in labels.all_text_contents() if text.isdigit()] == ticks
        assert tab.locator("#plot-time .mark-symbol path").count() >= 4


def test_rows_are_sorted_filtered_and_copied(shown):
    tab = shown(published(), permissions=["clipboard-read", "clipboard-write"])
    rows = "#table tbody:not([hidden])"
    tab.get_by_role("button", name="Speed-up").click()
    sorted_ = tab.locator("#table thead th").nth(1)
    assert sorted_.get_attribute("aria-sort") == "ascending"
    values = [
        float(field.get_attribute("data-sort"))
        for field in tab.locator(f'{rows} td[data-label="Speed-up"]').all()
        if field.get_attribute("data-sort")
    ]
    assert values == sorted(values) and len(values) == 4
    tab.get_by_role("button", name="Speed-up").click()
    assert tab.locator(f"{rows} .name").first.inner_text() == "dense"
    tab.fill("#filter", "int8 faster")
    assert tab.locator(f"{rows} .name").all_inner_texts() == ["int8-shared"]
    tab.get_by_role("button", name="Copy as Markdown").click()
    tab.wait_for_function("document.querySelector('#copied').value === 'Copied'")
    lines = tab.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[0].startswith("| Cache | Speed-up | ms per token |") and len(lines) == 3
    assert lines[2].startswith("| int8-shared (v4) | 1.0") and "(over dense)" in lines[2]
    tab.get_by_role("button", name="Copy as CSV").click()
    tab.wait_for_function("navigator.clipboard.readText().then((t) => t.startsWith('Cache,'))")


def test_one_choice_holds_everywhere(shown):
    tab = shown(published())
    tab.locator('#table tbody:not([hidden]) input[value="v2"]').check()
    tab.wait_for_function("document.documentElement.dataset.shown.endsWith(' v2')")
    pressed = tab.locator('.legend [aria-pressed="true"]').all_inner_texts()
    assert pressed == ["int8"]
    assert tab.locator("#table tbody:not([hidden]).pale").count() == 4
    for plot in ("speedup", "tradeoff", "time", "memory", "phases"):
        marks = tab.locator(f"#plot-{plot} .role-mark path[aria-roledescription]")
        pale = tab.locator(f'#plot-{plot} .role-mark path[aria-roledescription][opacity="0.12"]')
        assert 0 < pale.count() < marks.count(), plot
    tab.get_by_role("button", name="Show all").click()
    tab.wait_for_function("!document.documentElement.dataset.shown.includes(' v2')")
    assert tab.locator('#plot-memory path[opacity="0.12"]').count() == 0


def test_the_keyboard_explains_a_row_and_a_pointer_a_mark(shown):
    tab = shown(published())
    button = tab.locator("#table tbody:not([hidden]) .explain").nth(1)
    button.focus()
    tab.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    why = tab.locator(f"#{button.get_attribute('aria-controls')}")
    assert why.is_visible() and "Largest possible" in why.inner_text()
    assert why.locator("a").get_attribute("href") == "latency/gpt2/v1/B1/T16.json"
    mark = tab.locator("#plot-speedup .mark-symbol path").first
    mark.scroll_into_view_if_needed()
    mark.hover()
    tip = tab.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    assert "2.29 times as fast: faster" in tip.inner_text() and "8 processes" in tip.inner_text()
    tab.get_by_role("button", name="Log scale").click()
    assert tab.locator('[data-scale="time"]').get_attribute("aria-pressed") == "true"


def test_a_mark_of_retrieval_says_how_many_items_and_against_what(shown):
    tab = shown(known("formats"))
    assert tab.locator("#plot-retrieval .mark-symbol path").count() == 16  # 8 caches, 2 lengths
    mark = tab.locator("#plot-retrieval .mark-symbol path").first
    mark.scroll_into_view_if_needed()
    mark.hover()
    tip = tab.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    assert "of 12 items at 512 tokens" in tip.inner_text() or "at 256 tokens" in tip.inner_text()
    assert "lost, 0 gained against v1" in tip.inner_text()


def luminance(colour):
    channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(shown, scheme):
    tab = shown(published(), color_scheme=scheme)
    names = ["paper", "raised", "ink", "muted", "good", "bad", "accent", "warn-bg", "warn-ink"]
    colours = tab.evaluate(
        "names => names.map(n => getComputedStyle(document.documentElement)"
        ".getPropertyValue('--' + n).trim())",
        names,
    )
    light = dict(zip(names, map(luminance, colours), strict=True))
    assert (light["paper"] < light["ink"]) == (scheme == "dark")
    pairs = [(t, g) for t in ("ink", "muted", "good", "bad", "accent") for g in names[:2]]
    for text, ground in [*pairs, ("warn-ink", "warn-bg")]:
        bright, dim = sorted((light[text], light[ground]), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, (text, ground)
    for element in tab.locator("input, select").all():  # each control has a name
        assert element.evaluate("e => e.labels.length > 0 || e.ariaLabel !== null")


def test_the_page_prints_in_ink_on_paper(shown):
    tab = shown(published(), color_scheme="dark")
    tab.emulate_media(media="print", color_scheme="dark")
    assert not tab.locator(".tools").is_visible() and not tab.locator(".legend").is_visible()
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert tab.locator(".card").first.is_visible() and tab.locator("#table").is_visible()
    assert tab.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_answers_and_table_need_no_script(shown):
    tab = shown(published(), ready=False, java_script_enabled=False)
    assert tab.locator(".sentence").first.is_visible()
    assert tab.locator("#table tbody").filter(visible=True).count() == 5


def test_a_large_study_stays_within_its_size():
    made = many(published("depth_batch"))
    text = html.render(made)
    assert len(text.encode()) < MOST
    assert made.every_place == 100 and len(made.places) == 60
    assert "60 of 100 batches and lengths are shown" in text
    assert len(html.render(published()).encode()) < MOST / 2


def test_the_page_is_made_from_gathered_cells_without_their_samples(tmp_path):
    made = known("lengths and depths")
    kinds = {}
    for path, record in made.cells:
        kinds.setdefault(path.split("/")[2], []).append({"cell": path, **record})
    for kind, cells in kinds.items():
        write_lines(tmp_path / f"{kind}.jsonl", [*cells, {"lines": len(cells)}])
    write_record(tmp_path / "verdicts.json", made.verdicts[0])
    write_record(tmp_path / "roofs.json", made.roofs)
    read = read_study("made", map(str, sorted(tmp_path.iterdir())))
    assert len(read.cells) == len(made.cells)
    processes = [p for r in read.records for p in r.get("processes", [])]
    assert processes and {len(run) for p in processes for run in p["runs"]} == {1}  # its time
    paths = [path for path, _ in made.cells]
    cells = sorted(read.cells, key=lambda cell: paths.index(cell[0]))
    again = Study("made", cells, made.verdicts, made.roofs, made.gates)
    assert html.render(again) == html.render(made)


def test_the_choice_is_a_card_where_time_and_quality_are_of_one_model():
    timed = [r for r in published().records if r["pretrained"] == "gpt2"]
    scored = [r | {"pretrained": "gpt2"} for r in published("quality").records]
    made = study([*timed, *scored])
    joined = tradeoff.judge([*timed, *scored, *made.gates])
    text = html.render(replace(made, joined=[joined]))
    assert "Which should I choose?" in text and "nothing beats int8: 12.2 kB a token" in text
    assert "Which should I choose?" not in html.render(published())


def test_the_table_has_the_word_of_the_gates_below_the_change():
    text = html.render(published("quality"))
    assert "<small>PASS</small>" in text and "<small>FAIL by perplexity ratio</small>" in text


def test_equal_records_give_equal_bytes():
    first = html.render(study(published().records))
    html.bundle.cache_clear()
    assert html.render(study(json.loads(json.dumps(published().records)))) == first


def test_names_and_notes_cannot_break_out_of_the_page(shown):
    hostile = "</script><script>alert(1)</script><b>"
    records = [r | {"version_description": hostile} for r in published().records]
    text = html.render(study(records, name="a<b>&c"))
    tab = shown(text)
    assert tab.locator(".kicker").inner_text() == "kvbench · study a<b>&c"
    assert hostile in tab.locator("#table tbody").first.text_content()


def test_caches_from_outside_have_a_place_a_name_and_a_colour(shown):
    records = [
        record | {"version": "mine", "cache": "elsewhere.my_cache:KVCache"}
        if record["version"] == "v2"
        else record
        for record in published().records
    ]
    made = study(records)
    assert list(made.names.items())[-1] == ("mine", "mine")
    colours = [made.colour(version) for version in made.names]
    assert len(set(colours)) == len(colours) == 5
    many = known("formats")
    assert len({many.colour(version) for version in many.names}) == len(many.names) == 8
    tab = shown(made)
    assert tab.locator("#table tbody:not([hidden]) .name").all_inner_texts()[-1] == "mine"
    assert "between mine and dense" in tab.locator(".card").first.inner_text()


def test_the_table_has_the_rows_of_the_verdicts():
    made = published()
    rows = {(line.place, line.version): line for line in table.lines(made)}
    assert len(rows) == 10
    for row in made.verdicts[0]["rows"]:
        line = rows[f"gpt2|1|T{row['T']}", row["version"]]
        assert line.word == row["verdict"] and line.fields[1].sort == row["speedup"]


def test_the_page_reaches_no_code_that_measures():
    files = reachable("scripts/page.py", "kvbench.report.page.html")
    rooms = {file.parts[file.parts.index("kvbench") + 1] for file in files if "src" in file.parts}
    assert not rooms & {"bench", "caches", "engine", "kernels", "models", "inputs", "peers"}


def later(folder: Path, **changes):
    """The published study on another day: int8 slower by a quarter, int8-shared larger."""
    records = deepcopy(published().records)
    for record in records:
        record |= changes
        if record["benchmark_name"] == "latency_vs_T" and record["version"] == "v2":
            for process in record["processes"]:
                for run in process["runs"]:
                    run["time_total_ms"] *= 1.25
        if record["benchmark_name"] == "vram_vs_T" and record["version"] == "v4":
            record["peak_memory_bytes"] += 50_000_000
    folder.mkdir()
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "results.jsonl").write_text(text)
    return folder


@pytest.mark.parametrize("width,height", SIZES)
def test_two_studies_have_a_page(shown, tmp_path, width, height):
    page = tmp_path / "compared.html"
    record = compare(PUBLISHED, later(tmp_path / "later"), page)
    tab = shown(page.read_text(encoding="utf-8"), width, height)
    assert tab.locator("h1").inner_text() == "later against cpu-amd-epyc-avx2"
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    moved = [row for row in record["rows"] if row["verdict"] in ("slower", "larger")]
    assert [row["regression"] for row in moved] == [True] * 4
    found = tab.locator(".sentence").all_text_contents()
    assert found[:-1] == [sentence(row, published().names) for row in moved]
    assert found[-1] == "4 measurements got worse by more than the margin"
    assert found[0] == "int8 of gpt2 at batch 1, T 8 is now slower, 0.80 [0.72, 0.89] times as fast"
    assert found[2] == "int8-shared of gpt2 at batch 1, T 8 peaks 1.11 times larger"
    assert tab.locator("#table tbody").count() == len(record["rows"]) == 20
    tab.fill("#filter", "slower")
    assert tab.locator("#table tbody:not([hidden])").count() == 2
    assert tab.locator("#plot-speedup svg").count() == 1


def test_studies_that_do_not_compare_are_refused_in_a_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results in .*: give a results.jsonl"):
        compare(PUBLISHED, tmp_path, tmp_path / "p.html")
    other = later(tmp_path / "later", device_name="another")
    with pytest.raises(MixedRecordsError, match="studies differ in device_name"):
        compare(PUBLISHED, other, tmp_path / "p.html")
    assert not (tmp_path / "p.html").exists()
    compare(PUBLISHED, other, tmp_path / "p.html", allow=["device_name"])
    assert "another" in (tmp_path / "p.html").read_text()


def test_the_command_writes_the_page_of_two_studies(tmp_path, capsys):
    now = later(tmp_path / "later") / "results.jsonl"
    assert main(["compare", str(PUBLISHED / "results.jsonl"), str(now)]) == 0
    page = now.with_name("compared.html")
    assert f"page: {page}" in capsys.readouterr().out
    assert "int8 of gpt2 at batch 1, T 8 is now slower" in page.read_text()


WITHOUT = """
import runpy, sys
from types import SimpleNamespace

class Files(list):
    code = "none"

sys.modules["altair"] = None
snakemake = SimpleNamespace(log=[sys.argv[1]], input=Files(), params=None, output=[])
runpy.run_path("scripts/page.py", init_globals={"snakemake": snakemake})
"""


def test_a_library_that_is_missing_is_named_with_what_brings_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path / "page.log")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "altair is not installed: pip install '.[page]' has all" in done.stderr
    assert len(done.stderr.splitlines()) == 1
