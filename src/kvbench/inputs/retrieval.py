"""Retrieval tasks of a given length, made from a seed with a model's own tokenizer.

They ask what RULER (Hsieh et al. 2024) asks, and need no data: every text is generated here. An
answer is one token, so that the logits after a sequence rank it among its distractors.

needle      one line that tells a thing's word, among unrelated sentences
multikey    such lines alone, each of another thing: one of them is asked for
variables   chains of lines, each equal to the one before: the word at a chain's end is asked for
words       a list of words, of which one comes more often than the others
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import count, cycle, product
from pathlib import Path

import numpy as np

from kvbench.files import placeholder, replacing
from kvbench.files.foreign import FormatError, reading
from kvbench.inputs import retrieval_words

Encode = Callable[[str], list[int]]
TASKS = ("needle", "multikey", "variables", "words")
CANDIDATES = 8  # the answer and its distractors
CHAINS, LINKS = 4, 2  # of task variables: chains, and lines of one after its first
OFTEN = 4  # times as often as any other word comes the answer of task words
ANSWERS = retrieval_words.ANSWERS.split()
ADJECTIVES = retrieval_words.ADJECTIVES.split()
NOUNS = retrieval_words.NOUNS.split()
FILLER = (
    "The {} {} walked along the path and said nothing.",
    "Later that day the {} {} went home again.",
    "Nobody had seen the {} {} for a long time.",
    "One {} {} was waiting outside, as on every morning.",
    "It was said that the {} {} would leave soon.",
    "The {} {} had been there before, and knew the way.",
)
LINE = "The word of the {} is {}."
ASKED = "The word of the {} is"
SAME = "The {} has the same word as the {}."
COUNTED = "The word that comes most often in this list is"


@dataclass(frozen=True)
class Items:
    """Items of one task and length.

    ids: (items, length) tokens, the last of which the answer follows. candidates: (items,
    CANDIDATES) tokens, the answer first. prefix: the first of each item's ids, as many as the
    tokenizer begins a sequence with.
    """

    ids: np.ndarray
    candidates: np.ndarray
    prefix: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


def make_items(
    encode: Encode, lengths: Sequence[int], items: int, seed: int, prefix: Sequence[int] = ()
) -> dict[tuple[str, int], Items]:
    """`items` of each task and length, behind `prefix`. The same arguments give the same items.

    Raises FormatError for a tokenizer that has too few of the answers as one token, and for a
    length that a task's lines do not fit into.
    """
    maker = _Maker(encode)
    found = {}
    for (t, task), length in product(enumerate(TASKS), lengths):
        rng = np.random.default_rng([seed, t, length])
        room = length - len(prefix)
        made = [maker.item(task, room, (i + 0.5) / items, rng) for i in range(items)]
        texts, candidates = (np.array(part, np.int64) for part in zip(*made, strict=True))
        first = np.array(prefix, np.int64)
        ids = np.concatenate([np.broadcast_to(first, (items, len(first))), texts], 1)
        found[task, length] = Items(ids, candidates, first)
    return found


@dataclass(frozen=True)
class _Draw:
    """What one item is made of, in a random order; the first word is the answer."""

    words: list[str]
    things: list[str]
    depth: float
    rng: np.random.Generator


class _Maker:
    """What makes items for one tokenizer."""

    def __init__(self, encode: Encode) -> None:
        self.encode = encode
        self.answers: dict[str, int] = {}
        before = encode(ASKED.format("day"))
        for word in ANSWERS:
            *rest, last = encode(f"{ASKED.format('day')} {word}")
            if rest == before:
                self.answers[word] = last
        if len(self.answers) < 2 * CANDIDATES:
            raise FormatError(
                f"the tokenizer has {len(self.answers)} of the {len(ANSWERS)} answers of retrieval "
                f"tasks as one token; {2 * CANDIDATES} are needed: leave the benchmark out"
            )

    def item(
        self, task: str, length: int, depth: float, rng: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        """The tokens of one item and its candidates; `depth` is where its line stands, 0 to 1."""
        words = list(rng.permutation(list(self.answers)))
        things = [f"{a} {b}" for a, b in product(ADJECTIVES, NOUNS)]
        draw = _Draw(words, [things[i] for i in rng.permutation(len(things))], depth, rng)
        ids = {
            "needle": self._needle,
            "multikey": self._multikey,
            "variables": self._variables,
            "words": self._words,
        }[task](length, draw)
        return ids[len(ids) - length :], [self.answers[word] for word in words[:CANDIDATES]]

    def _needle(self, length: int, draw: _Draw) -> list[int]:
        own = self._say(LINE.format(draw.things[0], draw.words[0]))
        asked = self._say(ASKED.format(draw.things[0]))
        text = self._filler(length - len(own) - len(asked), draw.rng)
        text.insert(round(draw.depth * len(text)), own)
        return _joined([*text, asked])

    def _multikey(self, length: int, draw: _Draw) -> list[int]:
        own = self._say(LINE.format(draw.things[0], draw.words[0]))
        asked = self._say(ASKED.format(draw.things[0]))
        others = zip(draw.things[1:], cycle(draw.words[1:]), strict=False)
        lines = (self._say(LINE.format(thing, word)) for thing, word in others)
        text = _up_to(length - len(own) - len(asked), lines)
        text.insert(round(draw.depth * len(text)), own)
        return _joined([*text, asked])

    def _variables(self, length: int, draw: _Draw) -> list[int]:
        chains = [draw.things[i :: len(draw.things) // CHAINS][:CHAINS] for i in range(1 + LINKS)]
        first = [LINE.format(*pair) for pair in zip(chains[0], draw.words, strict=False)]
        links = [
            [SAME.format(b, a) for a, b in zip(*pair, strict=True)]
            for pair in zip(chains, chains[1:], strict=False)
        ]
        lines = [self._say(line) for line in _interleaved([first, *links], draw.rng)]
        asked = self._say(ASKED.format(chains[-1][0]))
        text = self._filler(length - len(asked) - sum(map(len, lines)), draw.rng)
        places = np.sort(draw.rng.integers(len(text) + 1, size=len(lines)))
        for place, line in zip(places[::-1], lines[::-1], strict=True):
            text.insert(place, line)
        return _joined([*text, asked])

    def _words(self, length: int, draw: _Draw) -> list[int]:
        asked = self._say(COUNTED)
        listed = [*draw.words[1 : 2 * CANDIDATES], *draw.words[:1] * OFTEN]
        rounds = -(-(length - len(asked)) // len(listed))
        order = draw.rng.permutation(np.repeat(np.arange(len(listed)), rounds))
        return [*(self.answers[listed[i]] for i in order), *asked]

    def _filler(self, room: int, rng: np.random.Generator) -> list[list[int]]:
        """Sentences that tell nothing, of `room` tokens and a part of one more."""
        if room < 0:
            raise FormatError(
                f"a retrieval task of this tokenizer needs {-room} tokens more: give "
                "retrieval.lengths that are longer"
            )
        sentences = (
            self._say(rng.choice(FILLER).format(rng.choice(ADJECTIVES), rng.choice(NOUNS)))
            for _ in count()
        )
        return _up_to(room, sentences)

    def _say(self, line: str) -> list[int]:
        return self.encode(f" {line}")


def _up_to(room: int, lines: Iterator[list[int]]) -> list[list[int]]:
    """Lines until `room` tokens are reached; the first is cut from its front to fit."""
    found: list[list[int]] = []
    while room > 0:
        found.append(next(lines))
        room -= len(found[-1])
    return [found[0][-room:] if room else found[0], *found[1:]] if found else []


def _interleaved(chains: list[list[str]], rng: np.random.Generator) -> list[str]:
    """Every chain's lines in their order, among those of the other chains in any."""
    which = rng.permutation(np.repeat(np.arange(len(chains[0])), len(chains)))
    left = [list(chain) for chain in zip(*chains, strict=True)]
    return [left[i].pop(0) for i in which]


def _joined(lines: list[list[int]]) -> list[int]:
    return [token for line in lines for token in line]


def write_items(path: str | Path, items: dict[tuple[str, int], Items]) -> None:
    """Write the arrays as one .npz; equal items give equal bytes."""
    arrays = {
        f"{task}.{length}.{part}": array
        for (task, length), one in items.items()
        for part, array in vars(one).items()
    }
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def load_items(path: str | Path, vocab_size: int) -> dict[tuple[str, int], Items]:
    """Read what write_items wrote.

    Raises FormatError for another file and for ids beyond `vocab_size`; NotMeasuredError where the
    tokenizer could not be had.
    """
    with reading(path, "file of retrieval tasks"):
        placeholder.check(path)
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = dict.fromkeys(name.rpartition(".")[0] for name in arrays)
            found = {}
            for name in names:
                task, length = name.split(".")
                one = Items(*(arrays[f"{name}.{part.name}"] for part in fields(Items)))
                if max(one.ids.max(), one.candidates.max()) >= vocab_size:
                    raise FormatError(f"{path} has ids that the model has no embedding of")
                found[task, int(length)] = one
        return found
