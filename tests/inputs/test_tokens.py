"""From markup to tokens, on a small dump of our own."""

import base64
import bz2
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbench.inputs import tokens as text
from kvbench.inputs import wiki

PROSE = "A sentence that is long enough to count as prose of this article. " * 8
MARKUP = """{{Infobox|name={{nested}}}}
[[File:A.png|thumb|A picture with a [[link]] in its caption, which goes as well]]
'''Alpha''' ({{lang|grc|x}},) is the ''[[Greek alphabet|first]]''&nbsp;letter, not [[Beta]].

%s<ref name="a">Gone.</ref><ref name="a" /> H<sub>2</sub>O &amp;<math>x^2</math> more.
<!-- a comment goes,
{{ whatever it holds -->
== History ==
=== Empty subsection ===
* a list item that is long enough to pass for a sentence
== Table ==
{| class="wikitable"
| a table cell that is long enough to pass for a sentence
|}
== Later ==
See [http://example.org the example of a site] for the words of a link. [[Category:Letters]]
[[de:Alpha (Buchstabe)]]
"""
DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">{}</mediawiki>"""
PAGE = "<page><title>{}</title><ns>{}</ns>{}<revision><text>{}</text></revision></page>"


@pytest.fixture(scope="module")
def encoding(tmp_path_factory):
    """A tokenizer of 8,191 tokens: every byte, then pairs of them."""
    pairs = [bytes([first, second]) for first in range(97, 128) for second in range(256)]
    tokens = [bytes([i]) for i in range(256)] + pairs[:7935]
    path = tmp_path_factory.mktemp("ranks") / "ranks.tiktoken"
    lines = (f"{base64.b64encode(token).decode()} {i}\n" for i, token in enumerate(tokens))
    path.write_text("".join(lines) + f"{base64.b64encode(b'one too many').decode()} 8191\n")
    return text.load_encoding(path, "gpt2-8k")


def test_markup_becomes_headings_and_paragraphs():
    assert wiki.clean_wikitext("Alpha", MARKUP % PROSE).split("\n\n") == [
        " = Alpha = ",
        "Alpha is the first letter, not Beta.",
        f"{PROSE}H2O & more.",
        " = = Later = = ",
        "See the example of a site for the words of a link.",
        "",
    ]


def test_only_articles_with_prose_are_taken_from_a_dump(tmp_path):
    pages = [
        PAGE.format("Alpha", 0, "", PROSE),
        PAGE.format("Old name", 0, '<redirect title="Alpha" />', PROSE),
        PAGE.format("Talk:Alpha", 1, "", PROSE),
        PAGE.format("Stub", 0, "", "Too short to keep, though it is a sentence."),
    ]
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(bz2.compress(DUMP.format("".join(pages)).encode()))
    assert wiki.dump_articles(path) == {"Alpha": f" = Alpha = \n\n{PROSE.strip()}\n\n"}


def test_an_extract_loses_its_tags_and_entities(tmp_path):
    path = tmp_path / "extract.txt"
    doc = '<doc id="1" url="u" title="A &amp; B">\nA &amp; B\n\nHistory.\n{}\n\n</doc>\n'
    path.write_text(doc.format(PROSE) + doc.format("short").replace("A &amp;", "C &amp;"))
    assert wiki.extract_articles(path) == {"A & B": f" = A & B = \n\n{PROSE.strip()}\n\n"}


def test_a_split_holds_whole_articles_and_does_not_depend_on_their_order():
    size = wiki.TEST_CHARS // 4
    articles = {f"title {i}": f"{i:03}" + "x" * size for i in range(12)}
    extras = {f"extra {i}": f"extra {i}" for i in range(5)} | {"title 1": "another text of it"}
    splits = wiki.split_articles(articles, extras)
    assert splits == wiki.split_articles(dict(reversed(articles.items())), extras)
    held = {split: {t for t in articles if articles[t] in splits[split]} for split in splits}
    assert sum(map(len, held.values())) == 12 and set.union(*held.values()) == articles.keys()
    assert wiki.TEST_CHARS <= len(splits["test"]) < wiki.TEST_CHARS + size + 3
    assert all(extras[f"extra {i}"] in splits["train"] for i in range(5))
    assert not any("another text" in split for split in splits.values())


@given(st.text(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_text_survives_tokenising_and_every_byte_is_counted(encoding, words):
    tokens = text.tokenize(words, encoding)
    assert encoding.decode_bytes(tokens.tokens.tolist()) == words.encode()
    assert tokens.token_bytes[tokens.tokens].sum(dtype=int) == len(words.encode())


def test_documents_begin_where_titles_do(encoding):
    articles = [f" = Title {n} = \n\nWords of it.\n\n = = Part = = \n\nMore: é.\n\n" for n in "abc"]
    tokens = text.tokenize("".join(articles), encoding)
    assert len(tokens.documents) == 3 and tokens.documents[0] == 0
    of = [tokens.document_of(i) for i in range(len(tokens.tokens))]
    parts = [tokens.tokens[[n == k for n in of]].tolist() for k in range(3)]
    decoded = [encoding.decode_bytes(part).decode() for part in parts]
    assert "".join(decoded) == "".join(articles)
    assert [words.strip() for words in decoded] == [words.strip() for words in articles]
    assert text.tokenize("no title = at all =", encoding).documents.tolist() == [0]
    assert text.tokenize("before\n = T = \nafter", encoding).documents[0] == 0
    assert text.tokenize("", encoding).documents.tolist() == [0]


def test_the_short_vocabulary_ends_in_end_of_text(encoding):
    assert encoding.n_vocab == 8192
    assert encoding.encode_single_token(text.END_OF_TEXT) == 8191
    assert b"one too many" not in encoding.token_byte_values()
    assert text.tokenize("", encoding).token_bytes[8191] == 0


def test_one_bit_per_byte_is_ln_2_nats_per_byte():
    tokens = text.Tokens(np.array([0, 1], np.uint16), np.array([3, 5], np.uint8))
    assert tokens.bits_per_byte(8 * np.log(2), tokens.tokens) == pytest.approx(1)


def test_token_files_are_equal_bytes_and_read_back(tmp_path, encoding):
    tokens = text.tokenize("The same text, twice.", encoding)
    for name in ("a.npz", "b.npz"):
        text.write_tokens(tmp_path / name, tokens)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    for read, written in zip(text.load_tokens(tmp_path / "a.npz"), tokens, strict=True):
        assert read.dtype == written.dtype and np.array_equal(read, written)


def test_wikitext_joins_its_lines_and_knows_its_older_name(monkeypatch):
    def load_dataset(name, config, split):
        if "/" in name:
            raise FileNotFoundError("no such data set")
        assert (config, split) == ("wikitext-2-raw-v1", "validation")
        return {"text": ["", " = Title = \n", " Words . \n"]}

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert text.wikitext_split("valid") == "\n\n = Title = \n\n\n Words . \n"


def test_offline_wikitext_says_what_to_do(monkeypatch):
    def load_dataset(*_, **__):
        raise ConnectionError("Couldn't reach\nthe hub")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(
        OSError, match="go online, or set perplexity.text to mini-wiki.*reach the hub"
    ) as refused:
        text.wikitext_split("test")
    assert "\n" not in str(refused.value)
