"""How unlikely a value was, by the quantiles that were forecast for it.

Letters: K levels; ... is any leading axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["MOST", "surprise"]

MOST = 30.0
TINY = 1e-30  # float32 holds it, and so does an exported graph


def surprise(x: Tensor, quantiles: Tensor, levels: Sequence[float]) -> Tensor:
    """-log10 of the two-sided tail probability 2·min(F, 1 − F), from 0 to ``MOST``.

    F is linear between levels, halfway up where several quantiles are the same; beyond the outer
    ones the tails are exponential, as steep as between the outer two on their side.

    Args:
        x: [..., 1] float64.
        quantiles: [..., K] float64, not falling.
        levels: K of them.

    Returns:
        [...].
    """
    p = torch.tensor(levels, dtype=x.dtype, device=x.device)
    low, high = quantiles[..., :-1], quantiles[..., 1:]
    width = (high - low).clamp(min=TINY)
    above, below = x - low, high - x
    passed = (0.5 + 0.5 * (above - below) / width).clamp(0, 1)
    F = levels[0] + passed @ p.diff()
    beyond = torch.cat([-above[..., :1], -below[..., -1:]], dim=-1).clamp(min=0)
    ends = torch.cat([width[..., :1], width[..., -1:]], dim=-1)
    steep = [math.log10(levels[1] / levels[0]), math.log10((1 - levels[-2]) / (1 - levels[-1]))]
    tail = (beyond / ends) @ torch.tensor(steep, dtype=x.dtype, device=x.device)
    inside = -torch.log10((2 * torch.minimum(F, 1 - F)).clamp(TINY, 1))
    return (inside + tail).clamp(0, MOST)
