"""Token embeddings from counts, so that training need not begin with what counting can tell."""

import torch
from torch import Tensor, nn

from kvbench.inputs.tokens import Tokens

STD = 0.08  # of the embeddings
BIAS = 10.0  # of the channel that carries the unigram distribution to the head


def neighbour_embeddings(tokens: Tensor, vocab_size: int, width: int, seed: int) -> Tensor:
    """Embeddings (vocab_size, width) from which tokens follow and precede each other.

    The leading singular vectors of the positive pointwise mutual information of neighbours, with
    rows scaled to one length (Levy, Goldberg and Dagan 2015; counts of second tokens to the power
    0.75), pairs seen n times discounted by n / (n + 1). Tokens that `tokens` lacks get zeros.
    """
    size = (vocab_size, vocab_size)
    pairs = torch.stack([tokens[:-1], tokens[1:]])
    ones = torch.ones(pairs.size(1))
    counts = torch.sparse_coo_tensor(pairs, ones, size, check_invariants=False).coalesce()
    (first, second), n = counts.indices(), counts.values()
    before = torch.bincount(tokens[:-1], minlength=vocab_size).float()
    after = torch.bincount(tokens[1:], minlength=vocab_size).float().pow(0.75)
    information = (n * after.sum() / (before[first] * after[second])).log().clamp_min(0)
    information *= n / (n + 1)  # most pairs are seen once: chance, in good part
    follows = torch.sparse_coo_tensor(
        counts.indices(), information, size, is_coalesced=True, check_invariants=False
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        u, s, _ = torch.svd_lowrank(torch.cat([follows, follows.t()], 1), width + 16, niter=3)
        rotation = torch.linalg.qr(torch.randn(width, width)).Q  # no channel matters more
    directions = nn.functional.normalize(u[:, :width] * s[:width].sqrt(), dim=1) @ rotation
    return directions * (before + after).sign()[:, None]


@torch.no_grad()
def start_from_counts(model: nn.Module, text: Tokens, seed: int) -> None:
    """Give a GPT-2 embeddings of neighbours, and let it predict token frequencies at first.

    Channel 0 holds the log-frequency of each token; the last norm sets it to a constant, BIAS.
    """
    embedding, norm = model.get_parameter("transformer.wte.weight"), "transformer.ln_f"
    tokens = torch.from_numpy(text.tokens.astype("int64"))
    vocab_size, width = embedding.shape
    neighbours = neighbour_embeddings(tokens, vocab_size, width, seed)
    neighbours -= neighbours.mean(0)
    log_frequency = (torch.bincount(tokens, minlength=vocab_size) + 1.0).log()
    embedding.copy_(neighbours * (STD / neighbours.std()))
    embedding[:, 0] = (log_frequency - log_frequency.mean()) / BIAS
    model.get_parameter(f"{norm}.weight")[0] = 0
    model.get_parameter(f"{norm}.bias")[0] = BIAS
