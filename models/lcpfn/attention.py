"""Who sees whom in LC-PFN: observed tokens and queries in one pass.

Observed tokens attend to observed tokens. A query attends to the observed tokens and to itself
(Adriaensen et al. 2023, section 3), so queries never see each other and each answer stands alone.
Both kinds go through one stream [B, N + Q] for every row-wise product; attention is N columns of
scores plus one column for the token itself, never an (N + Q) x (N + Q) mask. The own column is open
for queries and for padding, which keeps a row without any observation free of NaN.

Letters: B rows, N observed (padded), Q queries, T = N + Q tokens, H heads, D head width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["attend", "biases"]


def biases(n: Tensor, N: int, Q: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Additive masks: columns [B, 1, 1, N] for observed keys, [B, 1, T, 1] for the own column.

    Args:
        n: [B] integers, how many of the N observed tokens of each row are real.
        N: observed tokens, padding included.
        Q: queries.
        dtype: of the scores.
    """
    shut = torch.finfo(dtype).min / 2
    real = torch.arange(N, device=n.device) < n[:, None]  # [B, N]
    zeros = torch.zeros(real.shape, device=n.device, dtype=dtype)
    keys = zeros.masked_fill(~real, shut)
    own = pad(zeros.masked_fill(real, shut), (0, Q))
    return keys[:, None, None, :], own[:, None, :, None]


def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, own: Tensor) -> Tensor:
    """Scaled queries, keys and values [B, H, T, D], ``biases`` -> mixtures [B, H, T, D]."""
    N = keys.shape[-1]
    scores = q @ k[:, :, :N].transpose(-1, -2) + keys  # [B, H, T, N]
    itself = (q * k).sum(-1, keepdim=True) + own  # [B, H, T, 1]
    p = torch.softmax(torch.cat([scores, itself], dim=-1), dim=-1).to(v.dtype)
    return p[..., :N] @ v[:, :, :N] + p[..., N:] * v
