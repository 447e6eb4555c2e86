"""Root mean square layer normalisation in plain torch: any dtype, float64 for tests.

Zhang & Sennrich 2019. Letter: W width.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["add_rmsnorm", "rmsnorm"]


def rmsnorm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) · weight over the last axis, computed in float32 or wider.

    Args:
        x: [..., W].
        weight: [W].
        eps: added to the mean square.

    Returns:
        [..., W], in the dtype of x.
    """
    h = x if x.dtype == torch.float64 else x.float()
    h = h / torch.sqrt(h.pow(2).mean(-1, keepdim=True) + eps)
    return (h * weight).to(x.dtype)


def add_rmsnorm(x: Tensor, more: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """What a residual block hands on: the sum, and its ``rmsnorm`` for the next block.

    Args:
        x: [..., W].
        more: [..., W], as many numbers as x.
        weight: [W].
        eps: added to the mean square.

    Returns:
        x + more, and ``rmsnorm`` of that, both [..., W] in the dtype that torch gives the sum.
    """
    total = x + more
    return total, rmsnorm(total, weight, eps)
