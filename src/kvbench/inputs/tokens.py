"""Tokens of a text, and the text that comes from a data hub."""

import base64
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kvbench.files import placeholder, replacing
from kvbench.files.foreign import FormatError, reading
from kvbench.inputs.vocabularies import VOCABULARIES

if TYPE_CHECKING:
    import tiktoken

TITLE = re.compile(r"^ = (?!= ).* =\s*$", re.MULTILINE)  # of an article; sections have two or more
END_OF_TEXT = "<|endoftext|>"
# SmolLM's words: digits stand alone, and the whitespace before one is a word; the rest is GPT-2's.
SMOLLM_PATTERN = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+"
)


def wikitext_split(split: str) -> str:
    """One split of WikiText-2 raw from the data hub: its lines joined by a blank line.

    That is how GPT-2 perplexities are usually read. Raises OSError, with what to do, when offline.
    """
    import datasets

    hub_split = "validation" if split == "valid" else split
    for name in ("Salesforce/wikitext", "wikitext"):  # the name before it had an owner
        try:
            lines = datasets.load_dataset(name, "wikitext-2-raw-v1", split=hub_split)["text"]
            return "\n\n".join(lines)
        except OSError as error:  # no network, offline mode, or not found
            problem = " ".join(str(error).split())
    raise OSError(
        "WikiText-2 cannot be fetched from the data hub: go online, or set perplexity.text to "
        f"mini-wiki, which needs the package index only ({problem})"
    )


class Tokens(NamedTuple):
    """One tokenised text. `token_bytes[id]` is its length in UTF-8; 0 for end of text."""

    tokens: np.ndarray  # (n_tokens,) uint16, or uint32 where ids are larger
    token_bytes: np.ndarray  # (vocab_size,) uint8 or uint16
    documents: np.ndarray = np.zeros(1, np.int64)  # the first token of each document, ascending
    prefix: np.ndarray = np.zeros(0, np.int64)  # ids that the tokenizer begins a sequence with: BOS

    def document_of(self, token: int) -> int:
        """The number of the document that holds a token, by the token's place in the text."""
        return max(0, int(np.searchsorted(self.documents, token, side="right")) - 1)

    def begun(self, begin: int, end: int) -> np.ndarray:
        """tokens[begin:end] as a sequence of its own, (T,) int64: behind the prefix."""
        return np.concatenate([self.prefix, self.tokens[begin:end].astype(np.int64)])

    def bits_per_byte(self, nats: float, targets: np.ndarray) -> float:
        """Cross entropy in bits per byte of text, from its sum in nats over `targets` (ids)."""
        return nats / np.log(2) / int(self.token_bytes[targets].sum(dtype=np.int64))


def load_encoding(ranks_path: Path, tokenizer: str) -> "tiktoken.Encoding":
    """A tokenizer from its ranks file, without a network; "gpt2-8k" keeps GPT-2's first merges.

    Ranks count merges in the order they were learnt, so any first part of them is a tokenizer too.
    Raises NotMeasuredError where the file could not be had.
    """
    import tiktoken
    from tiktoken_ext.openai_public import r50k_pat_str

    placeholder.check(ranks_path)
    n_vocab = VOCABULARIES[tokenizer]
    with reading(ranks_path, "ranks file of a tokenizer"):
        lines = ranks_path.read_bytes().splitlines()[: n_vocab - 1]
        ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
        first = min(ranks.values())  # control tokens come before these, or end of text after them
    return tiktoken.Encoding(
        name=tokenizer,
        pat_str=SMOLLM_PATTERN if tokenizer == "smollm2" else r50k_pat_str,
        mergeable_ranks=ranks,
        special_tokens={END_OF_TEXT: 0 if first else n_vocab - 1},
    )


def tokenize(text: str, encoding: "tiktoken.Encoding") -> Tokens:
    """All of `text`, so that decoding gives it back exactly: its headings divide the articles.

    Raises ValueError for a byte that the vocabulary cannot spell.
    """
    single = {token[0] for token in encoding.token_byte_values() if len(token) == 1}
    if strange := set(text.encode()) - single:
        raise ValueError(f"{encoding.name} has no token for bytes {sorted(map(hex, strange))}")
    token_bytes = np.zeros(encoding.n_vocab, np.uint8)
    for token in encoding.token_byte_values():
        token_bytes[encoding.encode_single_token(token)] = len(token)
    ids = np.array(encoding.encode_ordinary(text), np.uint16)
    return Tokens(ids, token_bytes, _document_starts(text, token_bytes[ids]))


def _document_starts(text: str, lengths: np.ndarray) -> np.ndarray:
    """The first token of each document, (documents,); one where no heading divides the text.

    lengths: bytes of each token. A token that ends one document and begins the next is the next's.
    """
    begins = [0, *(match.start() for match in TITLE.finditer(text))]
    offsets = [len(text[a:b].encode()) for a, b in itertools.pairwise(begins)]
    ends = np.cumsum(lengths, dtype=np.int64)
    found = np.searchsorted(ends, np.cumsum([0, *offsets]), side="right")
    return np.unique(found[found < max(1, len(lengths))])


def write_tokens(path: str | Path, tokens: Tokens) -> None:
    """Write the arrays as one .npz; equal tokens give equal bytes."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **tokens._asdict())


def load_tokens(path: str | Path, vocab_size: int = 2**32, at_least: int = 0) -> Tokens:
    """Read what write_tokens wrote.

    Raises FormatError for another file, for ids beyond `vocab_size`, and for fewer tokens, the
    prefix included, than `at_least`; NotMeasuredError where the text could not be had.
    """
    with reading(path, "token file"):
        placeholder.check(path)
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            known = [arrays[name] for name in Tokens._fields if name in arrays]
            found = Tokens(*known)
        if found.tokens.dtype not in (np.uint16, np.uint32) or found.tokens.ndim != 1:
            raise ValueError("its tokens are no row of uint16 or uint32")
        if found.token_bytes.dtype not in (np.uint8, np.uint16) or found.token_bytes.ndim != 1:
            raise ValueError("its token_bytes are no row of uint8 or uint16")
        if found.documents.dtype != np.int64 or found.documents.ndim != 1:
            raise ValueError("its documents are no row of int64")
        if found.prefix.dtype != np.int64 or found.prefix.ndim != 1:
            raise ValueError("its prefix is no row of int64")
        if (length := len(found.prefix) + len(found.tokens)) < at_least:
            raise FormatError(
                f"{path} has {length} tokens, a window needs {at_least}: "
                "lower perplexity.context, or take a longer text"
            )
        largest = int(max(found.tokens.max(initial=0), found.prefix.max(initial=0)))
        if largest >= min(vocab_size, len(found.token_bytes)):
            raise FormatError(f"{path} has token id {largest}, the model {vocab_size} embeddings")
        return found


def read_text(path: str | Path) -> str:
    """A text in UTF-8. Raises FormatError for one in another encoding, and for one of nothing."""
    with reading(path, "text in UTF-8"):
        text = Path(path).read_text(encoding="utf-8")
    if not text.strip():
        raise FormatError(f"{path} is an empty text; delete it and run again")
    return text
