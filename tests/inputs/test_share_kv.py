"""Weights fitted to a layer map: exact where layers are related, refused where they cannot be."""

import numpy as np
import pytest
import torch

from kvbench.bench.quality.one_forward import cached_logits
from kvbench.costs.layer_map import label, owners
from kvbench.inputs.least_squares import key_map, match_heads
from kvbench.inputs.share_kv import choose, fit
from kvbench.inputs.tokens import Tokens
from kvbench.models.build import build
from kvbench.models.rotation import rotate, rotation, speeds
from kvbench.models.weights import save
from kvbench.plan.cells import cell
from kvbench.plan.config import ConfigError, load_schema, resolve
from kvbench.plan.weight_paths import training_job, weights_file

SCHEMA = load_schema()
GPT2 = {"arch": "gpt2", "n_layer": 3, "n_head": 2, "n_embd": 32, "block_size": 256}
LLAMA = {"arch": "llama", "n_layer": 3, "n_head": 4, "n_kv_head": 2, "n_embd": 64, "n_inner": 64}
SHAPES = {
    "gpt2": GPT2 | {"vocab_size": 61},
    "llama": LLAMA | {"block_size": 256, "vocab_size": 61},
}
TEXT = Tokens(
    np.random.default_rng(0).integers(61, size=6000).astype(np.uint16), np.full(61, 2, np.uint8)
)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def turning(hs, seed=0):
    """A map that commutes with rotary positions: a turn and a scale for each pair of channels."""
    a, b = random(2, hs // 2, seed=seed)
    return torch.block_diag(*torch.stack([a, b, -b, a], -1).view(-1, 2, 2))


@pytest.fixture(params=SHAPES)
def related(request, tmp_path):
    """Weights in which layer 2 reads what layer 1 reads, and whose K/V are linear in layer 1's.

    Layer 1 adds nothing to the residual stream; heads of layer 2 are those of layer 1, swapped.
    """
    shape = SHAPES[request.param]
    model = build(shape, "own", "float32", seed=1, device="cpu")
    rows, hs = shape["n_embd"], shape["n_embd"] // shape["n_head"]
    one, two = (list(model.blocks())[layer] for layer in (1, 2))
    for proj in (one.attn.c_proj, one.mlp.c_proj):
        proj.weight.zero_()
    for block in (one, two):
        block.attn.c_attn.weight.mul_(20)  # attention that chooses, not averages
    kv = one.attn.c_attn.weight[rows:].view(2, -1, hs, rows).flip(1)  # (K or V, heads, hs, C)
    K = turning(hs).T if request.param == "llama" else random(hs, hs)
    two.attn.c_attn.weight[rows:] = torch.stack(
        [K @ kv[0], random(hs, hs, seed=2) @ kv[1]]
    ).flatten(0, 2)
    two.attn.c_proj.weight.mul_(20)
    path = tmp_path / "w.safetensors"
    save(path, dict(model.named_parameters()))
    return shape, str(path), model


def error(model, original):
    ids = torch.from_numpy(TEXT.tokens[None, 300:500].astype("int64"))
    a, b = (cached_logits(m, "none", ids) for m in (model, original))
    return ((a - b).norm() / (b - b.mean()).norm()).item()


def test_related_layers_share_at_no_loss_once_calibrated(related):
    shape, path, original = related
    job = {"shape": shape, "map": "0-1-1", "variant": "calibrated"}
    model, record = fit(job, path, TEXT)
    copied = build(shape, [0, 1, 1], "float32", path, device="cpu")
    assert model.config.owning_layers == [0, 1] and record["layer_owner"] == [0, 1, 1]
    assert error(model, original) < 0.02 * error(copied, original)
    sizes = [sum(p.numel() for p in m.parameters()) for m in (model, copied)]
    assert sizes[0] == sizes[1]  # nothing is added that would have to run


def test_pairs_are_chosen_by_their_loss(related):
    shape, path, _ = related
    record = choose({"shape": shape}, path, TEXT)
    loss = {(pair["layer"], pair["owner"]): pair["loss"] for pair in record["pairs"]}
    assert loss[2, 1] < 0.05 * loss[2, 0]  # related, and not
    layer, owner = min(loss, key=loss.get)
    assert record["layer_map"][layer] == owner and len(set(record["layer_map"])) == 2


def test_copied_queries_are_the_owner_s(related):
    shape, path, original = related
    model, _ = fit({"shape": shape, "map": "0-0-2", "variant": "copied"}, path, TEXT)
    mine = model.get_parameter("transformer.h.1.attn.c_attn.weight")
    owner = original.get_parameter("transformer.h.0.attn.c_attn.weight")
    assert torch.equal(mine, owner[: len(mine)])


def test_rotary_key_maps_commute_with_rotation():
    k, M = random(400, 16), turning(16, seed=3)
    found = key_map(k, k @ M, rotary=True)
    assert torch.allclose(found.float(), M, atol=1e-5)
    cos, sin = rotation(torch.arange(400), speeds(16, 10_000.0))
    turned = [rotate(x[None, None], cos, sin) for x in (k, k @ M)]
    assert torch.allclose(turned[0] @ found.float(), turned[1], atol=1e-4)


def test_heads_are_matched_to_the_owner_heads_they_suit():
    owner, q = random(3, 500, 8), random(3, 500, 8, seed=1)
    borrower = torch.stack([owner[h] @ random(8, 8, seed=h + 5) for h in (2, 0, 1)])
    assert [head for head, _ in match_heads(owner, borrower, q, rotary=False)] == [1, 2, 0]


def test_layer_maps_by_name_and_by_hand():
    assert owners("ends", 6) == [0, 1, 1, 3, 3, 5] and owners("ends", 5) == [0, 1, 1, 3, 4]
    assert owners("triples", 5) == [0, 0, 0, 3, 3]
    by_hand = [0, 0, 2, 0]
    assert owners(label(by_hand), 4) == by_hand and label("pairs") == "pairs"
    assert all(owners(owners("ends", n), n) for n in range(1, 9))  # every map is a valid one


def test_a_study_names_layer_maps_and_weights_follow():
    study = {
        "pretrained": "nano",
        "versions": ["v1", "v3", "v14"],
        "perplexity": {"presets": ["nano"]},
    }
    config = resolve(study | {"layer_maps": {"v14": [0, 0, 2, "2"], "v3": "triples"}}, SCHEMA)
    assert cell(config, "perplexity", "nano", "v14").layer_owner == [0, 0, 2, 2]
    assert cell(config, "perplexity", "nano", "v3").layer_owner == [0, 0, 0, 3]
    assert weights_file(config, "nano", "v3") == weights_file(config, "nano")
    assert weights_file(config, "nano", "v14").endswith(
        "/trained-80-42.calibrated-0-0-2-2.safetensors"
    )
    assert weights_file(config, "gpt2", "v14").endswith("/random-42.safetensors")


def test_uptraining_is_a_tenth_of_training():
    config = resolve({}, SCHEMA)
    scratch, up = (training_job(config, v, "pairs") for v in ("shared", "uptrained"))
    assert up["steps"] * 10 == scratch["steps"] == config["nano"]["steps"]
    assert up["muon_lr"] * 10 == pytest.approx(scratch["muon_lr"])
    assert up["layer_map"] == [0, 0, 2, 2]


@pytest.mark.parametrize(
    ("study", "said"),
    [
        (
            {"layer_maps": {"v1": "pairs"}},
            "'layer_maps.v1' is unknown: versions that share K/V: v3",
        ),
        ({"layer_maps": {"v3": [0, 0]}}, "'layer_maps.v3' does not fit gpt2: layer map has 2"),
        ({"layer_maps": {"v3": "twos"}}, "allowed: own, pairs, triples, ends"),
        ({"versions": ["v1", "v12"]}, "v12, which is trained in the workflow.*not with smollm2"),
    ],
)
def test_sharing_that_cannot_be_is_refused(study, said):
    with pytest.raises(ConfigError, match=said):
        resolve(study, SCHEMA)
