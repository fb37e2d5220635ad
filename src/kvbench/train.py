"""Train a small model on the CPU: the trained weights that need no model hub.

Muon (Jordan et al. 2024) on the hidden matrices, AdamW on the rest: with 1,000 tokens a step it
learns about twice as much per second as AdamW alone.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvbench import caches
from kvbench.models import build
from kvbench.text import Tokens

LOG_EVERY = 50  # steps


def train(
    shape: dict[str, Any],
    text: Tokens,
    valid: Tokens,
    settings: dict[str, Any],
    layer_map: str | Sequence[int] = "own",
    init: str | Path | None = None,
    log: Callable[[str], None] = print,
) -> tuple[nn.Module, dict[str, Any]]:
    """A model of one shape trained on `text`, and how it went.

    settings: steps, batch_tokens, muon_lr, adamw_lr, warmup_steps, weight_decay, seed. `layer_map`
    says which layers share K/V; `init` is a weights file to go on from instead of seeded random
    numbers. The record holds steps, tokens, train_loss (nats per token, mean of the last
    LOG_EVERY steps), valid_loss, valid_bits_per_byte and train_s.
    """
    model = build(shape, layer_map, "float32", weights=init, seed=settings["seed"], device="cpu")
    model.requires_grad_(True).train()
    optimizers = make_optimizers(model, settings)
    batches = Batches(text, settings["batch_tokens"], shape["block_size"], settings["seed"])
    losses = []
    start = time.perf_counter()
    for step in range(settings["steps"]):
        scale = learning_rate_scale(step, settings)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = scale * group["peak_lr"]
        loss = token_loss(model, *batches.draw()).mean()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.detach())
        if (step + 1) % LOG_EVERY == 0 or step + 1 == settings["steps"]:
            recent = torch.stack(losses[-LOG_EVERY:]).mean().item()
            per_s = (step + 1) / (time.perf_counter() - start)
            log(f"step {step + 1}/{settings['steps']}  loss {recent:.4f}  {per_s:.1f} steps/s")
    model.requires_grad_(False).eval()
    return model, {
        "steps": settings["steps"],
        "tokens": settings["steps"] * settings["batch_tokens"],
        "train_loss": torch.stack(losses[-LOG_EVERY:]).mean().item(),
        "train_s": time.perf_counter() - start,
        **evaluate(model, valid),
    }


def make_optimizers(model: nn.Module, settings: dict[str, Any]) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings, norms and biases."""
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]
    rest = [p for name, p in model.named_parameters() if not (p.ndim == 2 and ".h." in name)]
    decay = settings["weight_decay"]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(hidden, lr=settings["muon_lr"], weight_decay=decay),
        torch.optim.AdamW(rest, settings["adamw_lr"], (0.9, 0.95), weight_decay=0.0, fused=True),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz steps (Jordan et al. 2024), in the weights' dtype.

    torch.optim.Muon orthogonalises in bfloat16 whatever it is given, which on a CPU without
    bfloat16 arithmetic costs five times the rest of the step.
    """

    def __init__(self, matrices: list[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.95})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update every matrix; the rate is scaled so that tall and wide ones move alike."""
        for group in self.param_groups:
            for matrix in group["params"]:
                momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - group["momentum"])
                direction = orthogonalised(matrix.grad.lerp(momentum, group["momentum"]))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                scale = max(1.0, matrix.size(0) / matrix.size(1)) ** 0.5
                matrix.add_(direction, alpha=-group["lr"] * scale)


def orthogonalised(matrix: Tensor) -> Tensor:
    """The nearest matrix with equal singular values, roughly: five quintic Newton-Schulz steps."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix if matrix.size(0) <= matrix.size(1) else matrix.mT
    x = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide is matrix else x.mT


def learning_rate_scale(step: int, settings: dict[str, Any]) -> float:
    """Linear warm-up, then a half cosine to zero, as a factor on the peak learning rates."""
    warmup, steps = settings["warmup_steps"], settings["steps"]
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class Batches:
    """Rows of consecutive tokens from places drawn with a seed: inputs and targets (B, block)."""

    def __init__(self, text: Tokens, batch_tokens: int, block_size: int, seed: int) -> None:
        self.tokens = torch.from_numpy(text.tokens.astype("int64"))
        self.block = min(block_size, batch_tokens)
        self.B = max(1, batch_tokens // self.block)
        self.generator = torch.Generator().manual_seed(seed)
        if len(self.tokens) <= self.block:
            raise ValueError(f"{len(self.tokens)} tokens are too few for one row of {self.block}")

    def draw(self) -> tuple[Tensor, Tensor]:
        """The next batch."""
        last = len(self.tokens) - self.block
        starts = torch.randint(last, (self.B, 1), generator=self.generator)
        rows = self.tokens[starts + torch.arange(self.block + 1)]  # (B, block + 1)
        return rows[:, :-1], rows[:, 1:]


def token_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of each target in nats, (B * T,); one causal forward, no tokens kept."""
    B, T = inputs.shape
    config: Any = model.config
    cache = caches.make("none", config, B, T, next(model.parameters()))
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
        logits = model(inputs, cache, last_only=False)
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices itself; emulated, fp32 is faster."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@torch.inference_mode()
def evaluate(model: nn.Module, text: Tokens, rows: int = 16) -> dict[str, float]:
    """Loss in nats per token and bits per byte, over windows of block_size tokens side by side."""
    config: Any = model.config
    T = config.block_size
    windows = torch.from_numpy(text.tokens.astype("int64")).unfold(0, T + 1, T)  # (n, T + 1)
    nats = sum(
        token_loss(model, part[:, :-1], part[:, 1:]).sum().item() for part in windows.split(rows)
    )
    targets = windows[:, 1:].flatten().numpy()
    return {
        "valid_loss": nats / len(targets),
        "valid_bits_per_byte": text.bits_per_byte(nats, targets),
    }
