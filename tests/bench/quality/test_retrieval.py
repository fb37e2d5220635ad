"""Retrieval tasks are what they say, and a broken cache fails them."""

import re

import broken_caches
import numpy as np
import pytest
import torch
from broken_caches import BACK, POSITIONS, TOKENS, broken

from kvbench.bench.quality import retrieval
from kvbench.files.foreign import FormatError
from kvbench.inputs.retrieval import (
    ANSWERS,
    CANDIDATES,
    LINKS,
    OFTEN,
    TASKS,
    Items,
    load_items,
    make_items,
    write_items,
)
from kvbench.plan.cells import cell
from kvbench.plan.config import load_schema, resolve

copier = pytest.fixture(broken_caches.copier)


class Words:
    """A tokenizer of whole words: each piece is its own token."""

    def __init__(self):
        self.ids, self.pieces = {}, []

    def __call__(self, text):
        return [self.id(piece) for piece in re.findall(r" ?\w+|[.,]", text)]

    def id(self, piece):
        if piece not in self.ids:
            self.ids[piece] = len(self.pieces)
            self.pieces.append(piece)
        return self.ids[piece]

    def text(self, ids):
        return "".join(self.pieces[i] for i in ids)


@pytest.fixture(scope="module")
def words():
    return Words()


@pytest.fixture(scope="module")
def made(words):
    return make_items(words, [256, 300], 4, seed=7)


def each(made, task):
    for length in (256, 300):
        one = made[task, length]
        assert one.ids.shape == (4, length) and one.candidates.shape == (4, CANDIDATES)
        yield from zip(one.ids, one.candidates, strict=True)


def test_every_task_and_length_is_made_and_the_same_for_a_seed(made):
    assert set(made) == {(task, length) for task in TASKS for length in (256, 300)}
    again, other = (make_items(Words(), [256, 300], 4, seed=seed) for seed in (7, 8))
    assert all(np.array_equal(made[key].ids, again[key].ids) for key in made)
    assert not any(np.array_equal(made[key].ids, other[key].ids) for key in made)


def test_candidates_are_different_single_tokens(made, words):
    for one in made.values():
        for row in one.candidates:
            said = [words.pieces[i].strip() for i in row]
            assert len(set(said)) == CANDIDATES and set(said) <= set(ANSWERS)


def lines_of(words, ids):
    """What each thing's word is by the text, and the thing that is asked for."""
    text = words.text(ids)
    known = dict(re.findall(r"The word of the (\w+ \w+) is (\w+)\.", text))
    for _ in range(LINKS):
        for b, a in re.findall(r"The (\w+ \w+) has the same word as the (\w+ \w+)\.", text):
            known |= {b: known[a]} if a in known else {}
    return known, re.search(r"The word of the (\w+ \w+) is$", text)[1]


@pytest.mark.parametrize(("task", "lines"), [("needle", 1), ("multikey", 20), ("variables", 12)])
def test_the_answer_is_what_the_text_tells_of_the_thing_asked_for(made, words, task, lines):
    for ids, candidates in each(made, task):
        known, asked = lines_of(words, ids)
        assert known[asked] == words.pieces[candidates[0]].strip()
        assert len(known) == lines or (task == "multikey" and len(known) > lines)
        others = {words.pieces[i].strip() for i in candidates[1:]}
        assert known[asked] not in others
        if task != "needle":
            assert others & set(known.values())


def test_the_most_common_word_is_the_answer(made, words):
    for ids, candidates in each(made, "words"):
        counts = [(ids == token).sum() for token in candidates]
        assert counts[0] >= 2 * max(counts[1:]) and min(counts) > 0 and OFTEN > 2


def test_the_line_asked_for_moves_through_the_text(made, words):
    places = []
    asked = made["needle", 300]
    for ids, candidates in zip(asked.ids, asked.candidates, strict=True):
        places.append(list(ids).index(candidates[0]))
    assert places == sorted(places) and places[0] < 100 and places[-1] > 200


def test_items_are_read_as_they_were_written(made, tmp_path):
    write_items(tmp_path / "i.npz", made)
    read = load_items(tmp_path / "i.npz", vocab_size=10_000)
    assert list(read) == list(made)
    assert all(np.array_equal(read[k].candidates, made[k].candidates) for k in made)
    with pytest.raises(FormatError, match="no embedding of"):
        load_items(tmp_path / "i.npz", vocab_size=50)
    (tmp_path / "x.npz").write_text("no arrays")
    with pytest.raises(FormatError, match=r"x\.npz"):
        load_items(tmp_path / "x.npz", vocab_size=50)


def test_a_tokenizer_without_the_answers_and_a_length_too_short_are_refused():
    with pytest.raises(FormatError, match="0 of the"):
        make_items(lambda text: list(text.encode()), [256], 2, seed=0)
    with pytest.raises(FormatError, match=r"retrieval\.lengths that are longer"):
        make_items(Words(), [40], 2, seed=0)


def asked_of_the_copier():
    """Items whose answer is what stood BACK tokens before the end."""
    rng = np.random.default_rng(0)
    drawn = (rng.permutation(np.arange(90) % TOKENS) for _ in range(20))
    ids = np.stack([row for row in drawn if row[89] != row[89 - BACK]][:6])
    answers = ids[:, 89 - BACK]
    others = [rng.permutation(np.delete(np.arange(TOKENS), a))[: CANDIDATES - 1] for a in answers]
    return Items(ids, np.concatenate([answers[:, None], others], 1))


def test_a_whole_cache_finds_every_answer(copier):
    asked = asked_of_the_copier()
    assert POSITIONS > 90
    for name in ("none", "dense", "int8"):
        found = retrieval.score(copier, name, asked)
        assert found["rank"] == [1] * 6 and min(found["margin"]) > 0
        assert found["item"] == [0, 1, 2, 3, 4, 5]


def test_two_swapped_rows_fail_retrieval(copier, monkeypatch):
    asked = asked_of_the_copier()
    place = 89 - BACK
    other = place - 1
    assert (asked.ids[:, place] != asked.ids[:, other]).all()

    def swap(k, v, layer):
        v[:, :, [place, other]] = v[:, :, [other, place]]
        return k, v

    found = retrieval.score(copier, broken(monkeypatch, swap), asked)
    assert min(found["rank"]) > 1 and max(found["margin"]) <= 0


def test_corrupted_codes_fail_retrieval(copier):
    found = retrieval.score(copier, "int8", asked_of_the_copier(), {1, 4}, first=80, corrupt=True)
    assert found["item"] == [1, 4] and min(found["rank"]) > 1


def test_no_number_is_no_right_answer(copier):
    copier.lm_head.weight.data.fill_(float("nan"))
    found = retrieval.score(copier, "dense", asked_of_the_copier())
    assert min(found["rank"]) == CANDIDATES and found["margin"] == [None] * 6


SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 256, "vocab_size": 700}


@pytest.mark.parametrize("version", ["v0", "v1", "v2", "v4"])
def test_a_record_has_every_task_and_its_controls(version, made, tmp_path):
    write_items(tmp_path / "i.npz", {k: v for k, v in made.items() if k[1] == 256})
    given = {"pretrained": None, "model_config": SHAPE, "device": "cpu", "weights": "random"}
    config = resolve(given | {"retrieval": {"lengths": [256], "items": 4}}, load_schema())
    asked = cell(config, "retrieval", "custom", version)
    assert asked.max_cached_tokens() == 256
    record = retrieval.run(asked, None, str(tmp_path / "i.npz"))
    assert [one["task"] for one in record["scores"]] == list(TASKS)
    assert all(len(one["rank"]) == len(one["margin"]) == 4 for one in record["scores"])
    assert ("noise_floor" in record) == (version == "v1")
    assert ("corrupted" in record) == (version != "v0")
    if version == "v1":
        for whole, again in zip(record["scores"], record["noise_floor"], strict=True):
            margins = [whole["margin"][i] for i in again["item"]]
            assert again["margin"] == pytest.approx(margins, abs=1e-4)
    assert torch.isfinite(torch.tensor([one["margin"] for one in record["scores"]])).all()
