"""Transformer blocks of prior-fitted networks: all of a block but how its tokens see each other.

Letters: B rows of a batch, T tokens, W width, H heads, D = W / H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

__all__ = ["EncoderBlock", "open_rows"]


def open_rows(n: Tensor, N: int, dtype: torch.dtype) -> Tensor:
    """Additive mask [B, N]: 0 for the first n [B] of N tokens, a large negative number after.

    Args:
        n: [B] integers, how many tokens of each row are real.
        N: tokens, padding included.
        dtype: of the scores.
    """
    real = torch.arange(N, device=n.device) < n[:, None]
    zeros = torch.zeros(real.shape, device=n.device, dtype=dtype)
    return zeros.masked_fill(~real, torch.finfo(dtype).min / 2)


class EncoderBlock(nn.Module):
    """Attention and MLP with residuals; post-norm as in the papers, or pre-norm.

    The caller takes what ``project`` gives, lets tokens see whatever they are to see, and hands the
    mixture to ``finish``.

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

    def project(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """h [B, T, W] -> queries (scaled by D^-1/2), keys and values, [B, H, T, D] each."""
        B, T, _ = h.shape
        split: Tensor = self.qkv(self._seen(h)).view(B, T, 3, self.heads, self.head_width)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        return q * self.scale, k, v

    def queries(self, h: Tensor) -> Tensor:
        """The queries alone, for tokens that nobody attends to."""
        B, T, W = h.shape
        q: Tensor = linear(self._seen(h), self.qkv.weight[:W], self.qkv.bias[:W])
        scaled: Tensor = q.view(B, T, self.heads, self.head_width).transpose(1, 2) * self.scale
        return scaled

    def finish(self, h: Tensor, mixed: Tensor) -> Tensor:
        """h [B, T, W] and what its tokens saw, [B, H, T, D] -> [B, T, W]."""
        B, T, W = h.shape
        seen = self.out(mixed.transpose(1, 2).reshape(B, T, W))
        if self.norm_first:
            h = h + seen
            return h + self._mlp(self.norm_mlp(h))
        h = self.norm_attention(h + seen)
        out: Tensor = self.norm_mlp(h + self._mlp(h))
        return out

    def _seen(self, h: Tensor) -> Tensor:
        out: Tensor = self.norm_attention(h) if self.norm_first else h
        return out

    def _mlp(self, h: Tensor) -> Tensor:
        out: Tensor = self.mlp_out(gelu(self.mlp_in(h)))
        return out
