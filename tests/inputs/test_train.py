"""Training is seeded, learns, and can share K/V or go on from a checkpoint."""

import numpy as np
import pytest
import torch

from kvbench.inputs.embeddings import neighbour_embeddings
from kvbench.inputs.muon import orthogonalized
from kvbench.inputs.tokens import Tokens
from kvbench.inputs.train import Batches, train
from kvbench.models.weights import save

SHAPE = {"arch": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 16}
SHAPE |= {"vocab_size": 61, "weights": "trained"}
SETTINGS = {"steps": 30, "batch_tokens": 64, "warmup_steps": 3, "muon_lr": 0.02, "adamw_lr": 0.006}


def text(n, seed=0):
    """A cycle with noise: the next token is nearly always the one after."""
    noise = np.random.default_rng(seed).random(n) < 0.1
    tokens = np.where(noise, np.arange(n) * 7, np.arange(n)) % 61
    return Tokens(tokens.astype(np.uint16), np.full(61, 2, np.uint16))


def trained(**more):
    return train(SHAPE, text(2000), text(400, 1), {**SETTINGS, "seed": 1}, **more)


def test_training_learns_and_repeats_itself():
    model, record = trained()
    again, _ = trained()
    assert record["valid_loss"] < 2.5 < np.log(61)  # a uniform guess costs log 61 = 4.1
    assert record["valid_bits_per_byte"] == pytest.approx(record["valid_loss"] / np.log(2) / 2)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_model_trains_with_shared_layers_and_goes_on_from_a_checkpoint(tmp_path):
    model, _ = trained()
    save(tmp_path / "nano.safetensors", dict(model.named_parameters()), source="trained")
    shared, record = trained(layer_map="pairs", init=tmp_path / "nano.safetensors")
    assert shared.get_parameter("transformer.h.1.attn.c_attn.weight").shape == (32, 32)
    assert record["train_loss"] > 0


def test_tokens_with_the_same_neighbours_start_equal_and_unseen_ones_at_zero():
    generator = torch.Generator().manual_seed(0)
    odd = 1 + 2 * torch.randint(2, (20_000,), generator=generator)  # 1 or 3, by no rule
    even = 2 * torch.arange(20_000).remainder(3) + 4  # 4, 6, 8, 4, ...
    embeddings = neighbour_embeddings(torch.stack([even, odd], 1).flatten(), 60, 6, seed=0)
    cosines = embeddings @ embeddings.T
    assert cosines[1, 3] > 0.9 and cosines.diagonal()[[1, 3, 4, 6, 8]].sub(1).abs().max() < 1e-4
    assert cosines[1, [4, 6, 8]].abs().max() < 0.7
    assert not embeddings[[0, 2, 5, 9, 59]].any()


def test_orthogonalised_matrices_have_singular_values_near_one():
    matrices = torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalized(matrices))
    assert values.min() > 0.5 and values.max() < 1.5


def test_batches_are_seeded_rows_of_following_tokens():
    first, again = (Batches(text(500), 64, 16, seed=3).draw() for _ in range(2))
    assert torch.equal(first[0], again[0]) and first[0].shape == (4, 16)
    assert torch.equal(first[0][:, 1:], first[1][:, :-1])


def test_a_text_shorter_than_a_row_is_refused():
    with pytest.raises(ValueError, match="row of 16"):
        Batches(text(10), 64, 16, seed=3)
