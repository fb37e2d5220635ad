"""Wikipedia articles as plain text, and their split into train, valid and test."""

import bz2
import hashlib
import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SPLITS = ("train", "valid", "test")
# Split sizes in characters (about 4.5 to a GPT-2 token), so that no tokenizer is needed to split.
TEST_CHARS, VALID_CHARS = 1_100_000, 135_000
MIN_LINE_CHARS = 25  # shorter lines are captions, labels, remains of tables
MIN_PROSE_CHARS = 500  # shorter articles are disambiguation pages, lists, bare stubs

# Links that show no words: pictures, categories, other languages.
NO_WORDS = re.compile(r"\s*(file|image|category|[a-z]{2,3}):", re.IGNORECASE)
# Tags whose contents are read on; every other tag goes, with its contents.
INLINE = {
    *("abbr", "b", "big", "blockquote", "center", "cite", "code", "del", "div", "em", "i", "ins"),
    *("nowiki", "p", "poem", "q", "s", "small", "span", "strong", "sub", "sup", "tt", "u"),
}
NOT_PROSE = "\x00"  # marks a line as a list item or a table; no dump holds this character
HEADING = "\x01"  # begins a heading's line: mark, level, title


def clean_wikitext(title: str, markup: str) -> str:
    """One article as plain text: headings ` = Title = `, paragraphs, a blank line between blocks.

    Lists, tables, references, formulas, templates, pictures and headings without prose are left
    out. Empty if less than MIN_PROSE_CHARS of prose remain.
    """
    import mwparserfromhell

    # A third of the markup is comments and references; to drop them first halves the parse.
    markup = re.sub(r"<!--.*?-->|<ref[^>]*/>|<ref\b.*?</ref>", "", markup, flags=re.DOTALL)
    plain = "".join(_plain(mwparserfromhell.parse(markup, skip_style_tags=True)))
    blocks = [(1, title)]
    for line in plain.split("\n"):
        if heading := re.fullmatch(rf"{HEADING}(\d)(.*)", line):
            blocks.append((max(2, int(heading[1])), heading[2].strip()))
        elif prose := _tidy(line):
            blocks.append((0, prose))
    return _join(blocks)


def _plain(code: Any) -> Iterator[str]:
    """The words of a parsed piece of markup, depth first; marks what is a heading or no prose."""
    from mwparserfromhell import nodes

    for node in code.nodes:
        if isinstance(node, nodes.Text):
            yield node.value
        elif isinstance(node, nodes.HTMLEntity):
            yield node.normalize()
        elif isinstance(node, nodes.Heading):
            yield f"\n{HEADING}{node.level}{''.join(_plain(node.title))}\n"
        elif isinstance(node, nodes.Wikilink):
            if not NO_WORDS.match(str(node.title)):
                yield from _plain(node.title if node.text is None else node.text)
        elif isinstance(node, nodes.ExternalLink):
            yield from _plain(node.title) if node.title else ()
        elif isinstance(node, nodes.Tag):
            tag = str(node.tag).strip().lower()
            if tag == "br":
                yield " "
            elif tag in INLINE and node.contents is not None:
                yield from _plain(node.contents)
            elif node.wiki_markup:  # `*`, `#`, `:`, `;` items and `{|` tables
                yield NOT_PROSE


def _tidy(line: str) -> str:
    """One line without the holes its markup left; empty if it is no prose."""
    line = re.sub(r"'{2,}|__[A-Z]+__", "", line)  # bold, italics, __NOTOC__
    line = " ".join(line.split())
    line = re.sub(r"\((?:[\s,;:]|or|and)*\)", "", line)  # ( ; , ) once held only templates
    line = re.sub(r"\(\s*[,;:]\s*", "(", line)
    line = re.sub(r"\s+([,.;:)])", r"\1", line)
    line = re.sub(r"  +", " ", line).strip()
    is_prose = len(line) >= MIN_LINE_CHARS and NOT_PROSE not in line and line[0] not in "|!{}*#"
    return line if is_prose else ""


def _join(blocks: list[tuple[int, str]]) -> str:
    """Blocks (heading level or 0, text) as one article; headings above no prose are dropped."""
    kept: list[str] = []
    prose_chars = 0
    open_level = 99  # level of the block kept last, read backwards; prose lies below all headings
    for level, block in reversed(blocks):
        if level == 0:
            kept.append(block)
            prose_chars += len(block)
            open_level = 99
        elif kept and level < open_level:
            marks = " ".join("=" * level)
            kept.append(f" {marks} {block} {marks} ")
            open_level = level
    return "\n\n".join(reversed(kept)) + "\n\n" if prose_chars >= MIN_PROSE_CHARS else ""


def dump_articles(path: Path) -> dict[str, str]:
    """Title -> clean text of each article of a bzip2-ed MediaWiki export; no redirects."""
    articles = {}
    with bz2.open(path) as dump:
        for _, page in ElementTree.iterparse(dump):
            if not page.tag.endswith("}page"):
                continue
            is_article = page.findtext("{*}ns") == "0" and page.find("{*}redirect") is None
            title = page.findtext("{*}title") or ""
            markup = page.findtext("{*}revision/{*}text") or ""
            if is_article and (text := clean_wikitext(title, markup)):
                articles[title] = text
            page.clear()
    return articles


def extract_articles(path: Path) -> dict[str, str]:
    """Title -> text of each `<doc title="...">` of a plain-text extract (one line a paragraph)."""
    docs = re.findall(
        r'<doc [^>\n]*title="([^"]*)">\n(.*?)\n</doc>', path.read_text("utf-8"), re.DOTALL
    )
    articles = {}
    for title, body in ((html.unescape(title), html.unescape(body)) for title, body in docs):
        lines = [(0, prose) for line in body.split("\n")[1:] if (prose := _tidy(line))]
        if text := _join([(1, title), *lines]):
            articles[title] = text
    return articles


def split_articles(articles: Mapping[str, str], train_only: Mapping[str, str]) -> dict[str, str]:
    """Whole articles in the order of sha256(title): test, then valid, the rest and `train_only`.

    The hash makes the split a fair sample that stays put when the sources are read in another
    order. An article of both sources counts once, so no test text is trained on.
    """
    splits = dict.fromkeys(SPLITS, "")
    everything = {**train_only, **articles}
    for title in sorted(everything, key=lambda title: hashlib.sha256(title.encode()).digest()):
        if title in articles and len(splits["test"]) < TEST_CHARS:
            split = "test"
        elif title in articles and len(splits["valid"]) < VALID_CHARS:
            split = "valid"
        else:
            split = "train"
        splits[split] += everything[title]
    return splits
