"""Muon, for CPUs: torch.optim.Muon always works in bfloat16, which most CPUs only emulate.

On an AVX2 core torch's takes 20 times as long as this one in float32.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan et al. 2024: steepest at zero, not exact


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices natively; emulated, they are slower."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def orthogonalized(matrices: Tensor, steps: int = 5) -> Tensor:
    """Matrices (n, rows, columns) with all singular values near 1, by Newton-Schulz iterations."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16() if has_bfloat16() else matrices.float()
    tall = x.size(1) > x.size(2)
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised: every direction of a matrix is learnt at one pace.

    For 2-D parameters only. Those of one shape are stacked, so that a step is a few large products.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                by_shape.setdefault(parameter.shape, []).append(parameter)
            for (rows, columns), same_shape in by_shape.items():
                gradients = torch.stack([p.grad for p in same_shape if p.grad is not None])
                state = self.state[same_shape[0]]
                momentum = state.setdefault("momentum", torch.zeros_like(gradients))
                momentum.lerp_(gradients, 1 - group["momentum"])
                updates = orthogonalized(gradients.lerp(momentum, group["momentum"]))
                lr = group["lr"] * max(1, rows / columns) ** 0.5
                for parameter, update in zip(same_shape, updates, strict=True):
                    parameter.add_(update, alpha=-lr)
