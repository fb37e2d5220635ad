"""What a study's files are: cells, figures and tables, by path. No torch here.

Paths begin with `<results>`, which the workflow fills in; `{preset}` is left open where one rule
serves every preset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from kvbench.benchmarks import BENCHMARKS
from kvbench.plan.cells import lookup, study_of
from kvbench.plan.config_types import Config
from kvbench.plan.study import known_presets, quality_presets

ROOFS = "<results>/roofline/roofs.json"
PAGE = "<results>/report.html"
VERDICTS = "<results>/verdicts/{preset}.json"
GATES = "<results>/gates/{preset}.json"
TRADEOFF = "<results>/tradeoff/{preset}.json"
# Every table of cells -> the benchmark whose cells it lists.
TABLES = {
    table: benchmark
    for benchmark, line in BENCHMARKS.items()
    for table in (line.tables if line.tables is not None else (benchmark,))
}
CHAPTERS = {"energy": "7 Energy"}  # of what does not stand with its benchmark
# What further tables are worked out from.
DERIVED_TABLES = {
    "verdicts": ["latency", "decode"],
    "depth": ["latency", "decode"],
    "batch": ["decode"],
    "attribution": ["dispatch"],
    "retrieval": ["retrieval"],
    "gates": ["perplexity", "retrieval"],
}
TIMED = ("latency", "decode")
FORMS = {"figures": ("svg", "png"), "tables": ("md", "csv")}


# Every figure, and the benchmarks whose cells it draws.
FIGURES: dict[str, list[str]] = {}
for _benchmark, _line in BENCHMARKS.items():
    for _figure in _line.figures:
        FIGURES.setdefault(_figure, []).append(_benchmark)


def chapter(shown: str) -> str:
    """The report's chapter of a figure or table: its benchmark's, of several the last one's."""
    own = FIGURES.get(shown, [TABLES.get(shown, shown)])[-1]
    return CHAPTERS.get(shown, BENCHMARKS[own].chapter)


def cell_path(benchmark: str) -> str:
    """The path of a benchmark's cells, without `<results>` and suffix; its wildcards are open."""
    return f"{benchmark}/{{preset}}/{BENCHMARKS[benchmark].path}"


def places(config: Config, benchmark: str) -> list[dict[str, Any]]:
    """The wildcards of every cell of one benchmark but for its preset."""
    axes, study = BENCHMARKS[benchmark].axes, study_of(config, benchmark)
    values = (lookup(study, key) for key in axes.values())
    every = product(*(value if isinstance(value, list) else [value] for value in values))
    return [dict(zip(axes, place, strict=True)) for place in every]


def cell_paths(config: Config, benchmark: str) -> list[str]:
    """Every cell of one benchmark, of any preset."""
    path = f"<results>/{cell_path(benchmark)}.json"
    return [path.format(preset="{preset}", **place) for place in places(config, benchmark)]


def presets_of(config: Config, benchmark: str) -> list[str]:
    """The presets that a benchmark of this study measures; none where the study leaves it out."""
    if benchmark not in config["benchmarks"]:
        return []
    return quality_presets(config) if BENCHMARKS[benchmark].scored else config["pretrained"]


def gathered(*benchmarks: str) -> list[str]:
    """The files that hold a preset's cells of these benchmarks."""
    return [f"<results>/cells/{benchmark}_{{preset}}.jsonl" for benchmark in benchmarks]


# What some figures and tables read besides their cells.
FURTHER = {
    "speedup": [VERDICTS],
    "decode": [VERDICTS],
    "peers": gathered("latency"),
    "attribution": [*gathered("decode"), ROOFS],
    "roofline": [ROOFS],
}


def figure_inputs(config: Config, figure: str, preset: str) -> list[str]:
    """What a figure draws: the cells of those benchmarks that measure its preset, and more."""
    if figure == "tradeoff":
        return joined_cells(config, preset)
    drawn = [b for b in FIGURES[figure] if preset in presets_of(config, b)]
    return gathered(*(drawn or FIGURES[figure][:1])) + FURTHER.get(figure, [])


def joined_cells(config: Config, preset: str) -> list[str]:
    """The cells of a preset that are put side by side in bytes, time and quality, and the gates."""
    drawn = [b for b in (*TIMED, "perplexity") if preset in presets_of(config, b)]
    scored = any(preset in presets_of(config, b) for b in DERIVED_TABLES["gates"])
    return gathered(*(drawn or TIMED[:1])) + [GATES] * scored


def joined_presets(config: Config) -> list[str]:
    """The presets whose time and quality are both measured."""
    timed = {preset for b in TIMED for preset in presets_of(config, b)}
    return [preset for preset in presets_of(config, "perplexity") if preset in timed]


def timed_cells(config: Config) -> list[str]:
    """The cells that versions are judged on: latency and decode, where the study measures them."""
    judged = [b for b in TIMED if b in config["benchmarks"]]
    return gathered(*(judged or ["latency"]))


def scored_cells(config: Config) -> list[str]:
    """The cells that quality is judged on, where the study measures them."""
    judged = [b for b in DERIVED_TABLES["gates"] if b in config["benchmarks"]]
    return gathered(*(judged or ["perplexity"]))


def own_roofs(config: Config) -> list[str]:
    """This machine's roofs, where the study measures them."""
    return [ROOFS] if {"roofline", "decode"} & set(config["benchmarks"]) else []


def page_records(config: Config) -> list[str]:
    """What the page is made from: the study's cells, the verdicts on them, and the roofs."""
    cells = _gathered_in(config, BENCHMARKS)
    timed = set(TIMED) & set(config["benchmarks"])
    judged = [VERDICTS.format(preset=preset) for preset in config["pretrained"] if timed]
    scored = [preset for b in DERIVED_TABLES["gates"] for preset in presets_of(config, b)]
    gates = [GATES.format(preset=preset) for preset in dict.fromkeys(scored)]
    joined = [TRADEOFF.format(preset=preset) for preset in joined_presets(config)]
    return cells + judged + gates + joined + own_roofs(config)


def compared_cells(config: Config) -> list[str]:
    """The cells that are compared with another study's."""
    return _gathered_in(config, (*TIMED, "vram"))


def _gathered_in(config: Config, benchmarks: Iterable[str]) -> list[str]:
    """The gathered cells of every preset that these benchmarks measure in a study."""
    return [
        path.format(preset=preset)
        for benchmark in benchmarks
        for preset in presets_of(config, benchmark)
        for path in gathered(benchmark)
    ]


def every_cell(config: Config) -> list[str]:
    """Every cell of the study, for the JSON lines."""
    return [
        path.format(preset=preset)
        for benchmark in BENCHMARKS
        for preset in presets_of(config, benchmark)
        for path in cell_paths(config, benchmark)
    ]


def files_of(kind: str, name: str, preset: str) -> list[str]:
    """Both forms of a preset's figure or table; kind: figures, tables."""
    return [f"<results>/{kind}/{name}_{preset}.{form}" for form in FORMS[kind]]


def every_figure(config: Config, benchmark: str | None = None) -> list[str]:
    """SVG and PNG of every figure that draws `benchmark` alone (default: all figures).

    A figure of several benchmarks is of the presets that all of them measure; of another preset it
    is made where it is asked for by name.
    """
    return [
        file
        for figure, drawn in FIGURES.items()
        if benchmark is None or drawn == [benchmark]
        for preset in presets_of(config, drawn[0])
        if all(preset in presets_of(config, other) for other in drawn)
        for file in files_of("figures", figure, preset)
    ]


def every_table(config: Config, benchmark: str | None = None) -> list[str]:
    """Markdown and CSV of every table of `benchmark` (default: any)."""
    tables = {table: [TABLES[table]] for table in TABLES} | DERIVED_TABLES
    joined = joined_presets(config) if benchmark is None else []
    shown = [("tradeoff", preset) for preset in joined] + [
        (name, preset)
        for name, read in tables.items()
        if benchmark is None or benchmark in read
        for preset in dict.fromkeys(p for b in read for p in presets_of(config, b))
    ]
    return [file for name, preset in shown for file in files_of("tables", name, preset)]


def of_every_preset(config: Config, *kinds: str, name: str) -> list[str]:
    """Both forms of a figure or table for each preset that is timed; kinds: figures, tables."""
    return [
        file
        for preset in config["pretrained"]
        for kind in kinds
        for file in files_of(kind, name, preset)
    ]


def sampled(config: Config, benchmark: str) -> bool:
    """Whether a measuring job writes a sample, for the pool of its cell; else the cell itself."""
    return BENCHMARKS[benchmark].pooled and study_of(config, benchmark)["replicates"] > 1


def sample_files(config: Config, benchmark: str) -> list[str]:
    """The samples that a cell is pooled from."""
    replicates = range(1, study_of(config, benchmark)["replicates"] + 1)
    return [f"<results>/samples/{cell_path(benchmark)}/r{n}.json" for n in replicates]


def record_file(config: Config, benchmark: str) -> str:
    """Where a measuring job writes."""
    if sampled(config, benchmark):
        return f"<results>/samples/{cell_path(benchmark)}/r{{replicate}}.json"
    return f"<results>/{cell_path(benchmark)}.json"


def log_file(config: Config, benchmark: str) -> str:
    """The log of a measuring job."""
    replicate = ".r{replicate}" if sampled(config, benchmark) else ""
    return f"<logs>/{cell_path(benchmark)}{replicate}.log"


def offered(config: Config) -> Iterator[str]:
    """The paths that come near a misspelt target: figures, tables, and this study's cells."""
    names = {"figures": FIGURES, "tables": (*TABLES, *DERIVED_TABLES, "tradeoff")}
    shown = [
        file
        for kind in FORMS
        for name, preset in product(names[kind], known_presets(config))
        for file in files_of(kind, name, preset)
    ]
    for path in (*shown, PAGE, *every_cell(config)):
        yield path.replace("<results>", f"results/{config['study']}")
