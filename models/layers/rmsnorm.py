"""Root mean square layer normalisation (Zhang & Sennrich 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foretoken.kernels.rmsnorm import add_rmsnorm, rmsnorm

__all__ = ["RMSNorm"]


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · weight over the last axis, computed in float32 or wider.

    Args:
        width: of the last axis.
        eps: added to the mean square.
    """

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> the same shape and dtype."""
        return rmsnorm(x, self.weight, self.eps)

    def added(self, x: Tensor, more: Tensor) -> tuple[Tensor, Tensor]:
        """x + more, and what ``forward`` makes of it: [..., width] twice -> twice."""
        return add_rmsnorm(x, more, self.weight, self.eps)
