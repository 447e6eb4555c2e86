"""The transformer encoder of prior-fitted networks: observed tokens and queries in one pass.

Observed tokens attend to observed tokens. A query attends to the observed tokens and to itself
(Adriaensen et al. 2023, section 3), so queries never see each other and each answer stands alone.
Both kinds go through one stream [B, N + Q] for every row-wise product; attention is N columns of
scores plus one column for the token itself, never an (N + Q) x (N + Q) mask. The own column is open
for queries and for padding, which keeps a row without any observation free of NaN.

Letters: B rows, N observed (padded), Q queries, T = N + Q tokens, W width, H heads, D = W / H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

__all__ = ["EncoderBlock", "attention_biases"]


def attention_biases(n: Tensor, N: int, Q: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
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


class EncoderBlock(nn.Module):
    """Attention and MLP with residuals; post-norm as in the paper, or pre-norm.

    Args:
        width: W, a multiple of heads.
        heads: H.
        mlp: hidden width of the GELU MLP.
        norm_first: normalise before each branch (True) or after each sum (False).
    """

    def __init__(self, width: int, heads: int, mlp: int, *, norm_first: bool) -> None:
        super().__init__()
        self.width, self.heads, self.head_width = width, heads, width // heads
        self.scale, self.norm_first = self.head_width**-0.5, norm_first
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_in = nn.Linear(width, mlp)
        self.mlp_out = nn.Linear(mlp, width)
        self.norm_attention = nn.LayerNorm(width)
        self.norm_mlp = nn.LayerNorm(width)
        for branch in (self.out, self.mlp_out):  # every block starts as the identity
            nn.init.zeros_(branch.weight)
            nn.init.zeros_(branch.bias)

    def forward(self, h: Tensor, keys: Tensor, own: Tensor) -> Tensor:
        """h [B, T, W], biases from :func:`attention_biases` -> [B, T, W]."""
        if self.norm_first:
            h = h + self._attend(self.norm_attention(h), keys, own)
            h = h + self._mlp(self.norm_mlp(h))
        else:
            h = self.norm_attention(h + self._attend(h, keys, own))
            h = self.norm_mlp(h + self._mlp(h))
        return h

    def _mlp(self, h: Tensor) -> Tensor:
        out: Tensor = self.mlp_out(gelu(self.mlp_in(h)))
        return out

    def _attend(self, h: Tensor, keys: Tensor, own: Tensor) -> Tensor:
        B, T, _ = h.shape
        N = keys.shape[-1]
        split: Tensor = self.qkv(h).view(B, T, 3, self.heads, self.head_width)
        q, k, v = split.permute(2, 0, 3, 1, 4)  # [B, H, T, D] each
        q = q * self.scale
        scores = q @ k[:, :, :N].transpose(-1, -2) + keys  # [B, H, T, N]
        itself = (q * k).sum(-1, keepdim=True) + own  # [B, H, T, 1]
        p = torch.softmax(torch.cat([scores, itself], dim=-1), dim=-1).to(v.dtype)
        mixed = p[..., :N] @ v[:, :, :N] + p[..., N:] * v  # [B, H, T, D]
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(B, T, self.width))
        return out
