"""A tokenizer that begins a sequence with BOS: what is read so is what transformers reads."""

import numpy as np
import pytest
import tiny_models
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from kvbench.bench.quality import perplexity, retrieval
from kvbench.inputs.model_tokenizer import encoder, load, prefix, tokenize_as_model
from kvbench.inputs.retrieval import ANSWERS, make_items, write_items
from kvbench.inputs.tokens import load_tokens, write_tokens
from kvbench.plan import cells
from kvbench.plan.config import load_schema, resolve

CONTEXT, BOS = 32, 5
WORDS = ["the", "of", "a", "lake", "in", "north", "was", "and", "its", "river"]
TEXT = " ".join(np.random.default_rng(0).choice(WORDS, 150))


FAMILY = "llama, longer"
LLAMA = tiny_models.FAMILIES["llama, llama3 rope, biases"]
tiny_models.MORE[FAMILY] = {**LLAMA, "max_position_embeddings": 256}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Llama whose tokenizer puts BOS in front."""
    path = tiny_models.saved(FAMILY, tmp_path_factory.mktemp("bos") / "bos")
    tokenizer_of_words().save_pretrained(path)
    return path


def tokenizer_of_words(template="<bos> $A"):
    """A word is a token; templates are those of the library `tokenizers`."""
    known = ["[UNK]", "<eos>", *WORDS[:3], "<bos>", *WORDS[3:], *ANSWERS[:40]]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    specials = [("<bos>", BOS), ("<eos>", 1)]
    made.post_processor = processors.TemplateProcessing(single=template, special_tokens=specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<bos>", eos_token="<eos>", unk_token="[UNK]"
    )


def record(folder, tokens, **asked):
    settings = {"context": CONTEXT, "max_windows": None, "probes": 1, **asked}
    divergence = {"prompts": 1, "prompt_tokens": 8, "tokens": 8}
    study = {"pretrained": str(folder), "device": "cpu", "dtype": "float32", "kernel": "torch"}
    study |= {"roofline": {"P": 64}, "perplexity": settings | {"divergence": divergence}}
    config = resolve(study, load_schema())
    return perplexity.run(cells.cell(config, "perplexity", "bos", "v1"), str(folder), str(tokens))


@torch.inference_mode()
def test_every_window_begins_with_bos_and_its_first_token_is_scored(folder, tmp_path):
    theirs = tiny_models.tiny(FAMILY)
    made = tokenize_as_model(TEXT, folder / "tokenizer.json")
    write_tokens(tmp_path / "text.npz", made)
    read = load_tokens(tmp_path / "text.npz")
    assert read.prefix.tolist() == [BOS] and BOS not in read.tokens

    whole = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt").input_ids[0]
    assert whole[0] == BOS and whole[1:].tolist() == read.tokens.tolist()
    own, losses = CONTEXT - 1, []
    for begin in range(0, len(whole) - 1, own):
        ids = torch.cat([whole[:1], whole[1 + begin : 1 + begin + own]])[None]
        losses.append(theirs(ids, labels=ids).loss.item() * (ids.size(1) - 1))
    found = record(folder, tmp_path / "text.npz")
    assert found["prefix_tokens"] == [BOS]
    assert found["n_tokens"] == len(read.tokens) == 150
    for mode in ("teacher_forced", "cached"):
        assert found["window_nll"][mode] == pytest.approx(losses, rel=1e-4)
    assert found["loss"] == pytest.approx(sum(losses) / 150, rel=1e-4)


@torch.inference_mode()
def test_overlapping_windows_score_each_token_once_behind_bos(folder, tmp_path):
    theirs = tiny_models.tiny(FAMILY)
    write_tokens(tmp_path / "text.npz", tokenize_as_model(TEXT, folder / "tokenizer.json"))
    found = record(folder, tmp_path / "text.npz", stride=10)
    spans = perplexity.windows(150, CONTEXT, 10, prefix=1)
    assert [token for _, end, first in spans for token in range(first, end)] == list(range(150))
    text, losses = torch.from_numpy(load_tokens(tmp_path / "text.npz").tokens.astype(np.int64)), []
    for begin, end, first in spans:
        ids = torch.cat([torch.tensor([BOS]), text[begin:end]])[None]
        labels = ids.clone()
        labels[:, : 1 + first - begin] = -100
        losses.append(theirs(ids, labels=labels).loss.item() * (end - first))
    assert found["window_nll"]["cached"] == pytest.approx(losses, rel=1e-4)


def test_without_a_prefix_windows_are_as_they_were():
    assert perplexity.windows(10, 4, 4) == [(0, 4, 1), (4, 8, 5), (8, 10, 9)]
    assert perplexity.windows(10, 4, 4, prefix=1) == [(0, 3, 0), (3, 6, 3), (6, 9, 6), (9, 10, 9)]


@pytest.mark.parametrize(
    "template, begins",
    [("$A", []), ("<bos> $A", [BOS]), ("<bos> $A <eos>", [BOS]), ("$A <eos>", [])],
)
def test_the_prefix_is_what_the_post_processor_puts_in_front(template, begins, tmp_path):
    tokenizer_of_words(template).save_pretrained(tmp_path)
    tokenizer = load(tmp_path / "tokenizer.json")
    assert prefix(tokenizer) == begins
    assert AutoTokenizer.from_pretrained(tmp_path)("the").input_ids[: len(begins)] == begins
    assert encoder(tokenizer)("the lake") == [2, 6]


def test_items_of_retrieval_begin_with_bos_and_are_as_long(folder, tmp_path):
    tokenizer = load(folder / "tokenizer.json")
    items = make_items(encoder(tokenizer), [256], 2, 3, prefix(tokenizer))
    assert all((one.ids[:, 0] == BOS).all() and one.ids.shape == (2, 256) for one in items.values())
    write_items(tmp_path / "items.npz", items)
    study = {"pretrained": str(folder), "device": "cpu", "dtype": "float32", "kernel": "torch"}
    study |= {"benchmarks": ["retrieval"], "retrieval": {"lengths": [256], "items": 2}}
    cell = cells.cell(resolve(study, load_schema()), "retrieval", "bos", "v1")
    found = retrieval.run(cell, str(folder), str(tmp_path / "items.npz"))
    assert found["prefix_tokens"] == [BOS] and len(found["scores"]) == 4
