"""Transformer blocks of prior-fitted networks: all of a block but how its tokens see each other.

Letters: B rows of a batch, T tokens, W width, H heads, D = W / H.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu, linear

__all__ = ["EncoderBlock"]


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
        q, k, v = map(self._by_head, self.qkv(self._seen(h)).chunk(3, dim=-1))
        return q * self.scale, k, v

    def queries(self, h: Tensor) -> Tensor:
        """The queries alone, for tokens that nobody attends to."""
        W = self.width
        q = linear(self._seen(h), self.qkv.weight[:W], self.qkv.bias[:W])
        scaled: Tensor = self._by_head(q) * self.scale
        return scaled

    def keys_values(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values alone, of tokens that see nobody."""
        W = self.width
        both = linear(self._seen(h), self.qkv.weight[W:], self.qkv.bias[W:])
        k, v = map(self._by_head, both.chunk(2, dim=-1))
        return k, v

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

    def _by_head(self, projected: Tensor) -> Tensor:
        """[B, T, W] -> [B, H, T, D], a view."""
        B, T, _ = projected.shape
        return projected.view(B, T, self.heads, self.head_width).transpose(1, 2)

    def _seen(self, h: Tensor) -> Tensor:
        out: Tensor = self.norm_attention(h) if self.norm_first else h
        return out

    def _mlp(self, h: Tensor) -> Tensor:
        out: Tensor = self.mlp_out(gelu(self.mlp_in(h)))
        return out
