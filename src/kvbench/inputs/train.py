"""Train a small model on the CPU: the trained weights that need no model hub.

Muon (Jordan et al. 2024) on the hidden matrices, AdamW on the rest. One core sees some 150,000
tokens in its minute and a half, too few to learn embeddings from, so they start from counts.
"""

import ctypes
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from kvbench import caches
from kvbench.files import Json
from kvbench.inputs.embeddings import start_from_counts
from kvbench.inputs.muon import Muon, has_bfloat16
from kvbench.inputs.tokens import Tokens
from kvbench.models.build import build
from kvbench.shape import Shape

LOG_EVERY = 50  # steps


def train(
    shape: Shape,
    text: Tokens,
    valid: Tokens,
    settings: Json,
    threads: int = 1,
    layer_map: str | Sequence[int] = "own",
    init: str | Path | None = None,
) -> tuple[nn.Module, Json]:
    """A model of one shape trained on `text`, and the record of it; the same on every run.

    settings: steps, batch_tokens, warmup_steps, muon_lr, adamw_lr, seed. `layer_map` says which
    layers share K/V; `init` is a weights file to go on from. The record holds the settings,
    train_loss (nats a token, mean of the last steps), valid_loss, valid_bits_per_byte.
    """
    torch.set_num_threads(threads)
    seed, steps = settings["seed"], settings["steps"]
    weights = None if init is None else str(init)
    model = build(shape, layer_map, "float32", weights=weights, seed=seed, device="cpu")
    if init is None:
        start_from_counts(model, text, seed)
    model.requires_grad_(True).train()
    optimizers = make_optimizers(model, settings)
    schedules = [LambdaLR(optimizer, learning_rate(settings)) for optimizer in optimizers]
    batches = Batches(text, settings["batch_tokens"], shape["block_size"], seed)
    losses: list[Tensor] = []
    start = time.perf_counter()
    for step in range(1, steps + 1):
        loss = token_loss(model, *batches.draw()).mean()
        loss.backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        losses = [*losses[1 - LOG_EVERY :], loss.detach()]
        if step % LOG_EVERY == 0 or step == steps:
            recent = torch.stack(losses).mean().item()
            pace = step / (time.perf_counter() - start)
            print(f"step {step}/{steps}  loss {recent:.4f}  {pace:.2f} steps/s", flush=True)
    model.requires_grad_(False).eval()
    return model, {
        **{key: settings[key] for key in sorted(settings) if key != "shape"},
        "autocast": "bfloat16" if has_bfloat16() else "float32",
        "train_loss": torch.stack(losses).mean().item(),
        **evaluate(model, valid),
    }


def make_optimizers(model: nn.Module, settings: Json) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings, norms and biases."""
    named = dict(model.named_parameters())
    hidden = [p for name, p in named.items() if p.ndim == 2 and ".h." in name]
    rest = [p for name, p in named.items() if not (p.ndim == 2 and ".h." in name)]
    adamw = torch.optim.AdamW(rest, settings["adamw_lr"], (0.9, 0.95), weight_decay=0, fused=True)
    return [Muon(hidden, settings["muon_lr"]), adamw]


def learning_rate(settings: Json) -> Callable[[int], float]:
    """The factor on the peak rates at a step: linear warm-up, then half a cosine down to 0."""
    warmup, steps = settings["warmup_steps"], settings["steps"]

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return factor


class Batches:
    """Rows of consecutive tokens from places drawn with a seed."""

    def __init__(self, text: Tokens, batch_tokens: int, block_size: int, seed: int) -> None:
        self.tokens = torch.from_numpy(text.tokens.astype("int64"))
        self.T = min(block_size, batch_tokens)
        self.B = batch_tokens // self.T
        self.generator = torch.Generator().manual_seed(seed)
        if len(self.tokens) <= self.T:
            raise ValueError(f"a text of {len(self.tokens)} tokens has no row of {self.T} + 1")

    def draw(self) -> tuple[Tensor, Tensor]:
        """The next inputs and targets, (B, T) each."""
        last = len(self.tokens) - self.T
        starts = torch.randint(last, (self.B, 1), generator=self.generator)
        rows = self.tokens[starts + torch.arange(self.T + 1)]
        return rows[:, :-1], rows[:, 1:]


def token_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of every target in nats, (B * T,), by one causal forward."""
    config: Any = model.config
    B, T = inputs.shape
    cache = caches.make("none", config, B, T, like=model.get_parameter("lm_head.weight"))
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
        logits = model(inputs, cache, last_only=False)
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")


@torch.inference_mode()
def evaluate(model: nn.Module, text: Tokens) -> dict[str, float]:
    """Loss in nats a token and bits per byte, over windows of block_size tokens side by side."""
    config: Any = model.config
    T = config.block_size
    windows = torch.from_numpy(text.tokens.astype("int64")).unfold(0, T + 1, T)  # (n, T + 1)
    rows = (token_loss(model, row[:, :-1], row[:, 1:]).sum().item() for row in windows.split(4))
    nats, targets = math.fsum(rows), windows[:, 1:].flatten().numpy()
    bits_per_byte = text.bits_per_byte(nats, targets)
    return {"valid_loss": nats / len(targets), "valid_bits_per_byte": float(bits_per_byte)}


def keep_freed_memory() -> None:
    """Have glibc keep what is freed, for the rest of this process; elsewhere, do nothing.

    A step frees and asks again for the same tens of megabytes; handed back in between, every page
    of them would be faulted in anew.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max = -1, -2, -4
        for option, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**28)):
            mallopt(option, value)
