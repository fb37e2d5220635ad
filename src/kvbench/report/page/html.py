"""The file: templates filled with what the page says, and the drawing library beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from kvbench.analysis.answers import Section, speed
from kvbench.analysis.quality import TOO_WEAK
from kvbench.analysis.sentences import (
    CHOICE,
    EQUAL,
    HIGHER,
    LARGER,
    LOSES,
    LOWER,
    MEMORY,
    NOT_SHOWN,
    QUALITY,
    SMALLER,
    SPEED,
    UNCHANGED,
    Answer,
)
from kvbench.analysis.tradeoff import UNBEATEN
from kvbench.analysis.verdict_notes import at
from kvbench.files import Json
from kvbench.report.page import asked, table
from kvbench.report.page.plots import Plot, plots
from kvbench.report.page.study import Study, place_of_row
from kvbench.stats.decisions import EQUIVALENT, FASTER, INCONCLUSIVE, SLOWER

QUESTIONS = {
    CHOICE: "Which should I choose?",
    SPEED: "Which is faster?",
    MEMORY: "How much memory?",
    QUALITY: "What does it cost in quality?",
}
MARKS = {
    **{FASTER: "▲", SLOWER: "▼", EQUIVALENT: "=", INCONCLUSIVE: "?"},
    **{SMALLER: "▼", LARGER: "▲", EQUAL: "="},
    **{HIGHER: "▲", LOWER: "▼", UNCHANGED: "=", NOT_SHOWN: "?"},
    LOSES: "▼",
    UNBEATEN: "▲",
}
FIRST = 4  # answers of a question that stand in sight; the others are one click away


def render(study: Study) -> str:
    """The page of one study, as the text of a file that needs no other.

    The same records give the same text: its date is theirs.
    """
    return template("study.html").render(
        title=f"{_models(study)}: what each KV cache costs and gains",
        study=study,
        asked=asked.asked(study),
        noise=asked.noise(study),
        remarks=asked.remarks(study),
        provenance=asked.provenance(study),
        cards=[_card(study, q) for q in QUESTIONS if q != CHOICE or study.joined],
        headers=table.HEADERS,
        lines=table.lines(study),
        quality_of=table.judged_quality(study),
        plots=plots(study),
        caches=[(version, name, study.colour(version)) for version, name in study.names.items()],
    )


def template(name: str) -> jinja2.Template:
    """A template of this folder, with the style, the scripts and what they need at hand."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = _json
    environment.globals |= {"style": _text("page.css"), "script": _text("page.js")}
    environment.globals |= {"bundle": bundle, "specs_of": _specs}
    return environment.get_template(name)


@cache
def bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script without imports."""
    script: str = vl_convert.javascript_bundle(None)  # type: ignore[arg-type]
    return _inline(script)


def _specs(shown: list[Plot]) -> Json:
    return {plot.name: plot.spec for plot in shown if plot.spec}


def _text(name: str) -> str:
    return files("kvbench.report.page").joinpath(name).read_text(encoding="utf-8")


def _json(value: Any) -> Markup:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _inline(script: str) -> str:
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _models(study: Study) -> str:
    timed = dict.fromkeys(record["pretrained"] for record in study.verdicts)
    every = timed or dict.fromkeys(record["pretrained"] for record in study.records)
    return ", ".join(every) or study.name


def _card(study: Study, question: str) -> Json:
    """One question: the answers in sight, those one click away, or why there are none."""
    found = [section for section in study.sections if section.question == question]
    if question == QUALITY:  # a toy model comes last
        found.sort(key=lambda section: section.preset in TOO_WEAK)
    return {
        "title": QUESTIONS[question],
        "question": question,
        "missing": asked.missing(study).get(question),
        "sections": [_section(*one) for one in zip(found, _in_sight(found), strict=True)],
        "elsewhere": _elsewhere(study) if question == SPEED else {},
    }


def _elsewhere(study: Study) -> dict[str, list[dict[str, str]]]:
    """The answers on speed at the other places that the page shows, by place in words."""
    said = [answer.row for section in study.sections for answer in section.answers]
    found: dict[str, list[dict[str, str]]] = {}
    for record in study.verdicts:
        for answer in speed(record, study.names):
            if answer.row not in said and place_of_row(answer.row, record) in study.places:
                where = f"{record['pretrained']}, {at(answer.row)}"
                found.setdefault(where, []).append(_answer(answer))
    return found


def _answer(answer: Answer) -> dict[str, str]:
    word = answer.word or ""
    return {
        "text": answer.text,
        "version": answer.version,
        "word": word,
        "mark": MARKS.get(word, "•"),
    }


def _in_sight(sections: Sequence[Section]) -> list[int]:
    """How many answers of each section stand in sight: FIRST of them all, none of a toy model."""
    weak = [s.question == QUALITY and s.preset in TOO_WEAK for s in sections]
    weak = weak if False in weak else [False for _ in weak]
    share = max(1, FIRST // max(1, weak.count(False)))
    left, found = FIRST, []
    for section, hidden in zip(sections, weak, strict=True):
        found.append(0 if hidden else min(share, left, len(section.answers)))
        left -= found[-1]
    return found


def _section(section: Section, first: int) -> Json:
    answers = [_answer(answer) for answer in section.answers]
    return {
        "preset": section.preset,
        "about": section.about,
        "first": answers[:first],
        "more": answers[first:],
        "weak": TOO_WEAK.get(section.preset) if section.question == QUALITY else None,
    }
