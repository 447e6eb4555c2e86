"""Attention with fewer heads of keys and values than of queries (Ainslie et al. 2023, GQA).

Letters: N tokens, W width, H heads of queries, K heads of keys and values, D head width, B rows of
a batch, T queries and S keys of a row.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["GroupedProjections", "attend", "causal"]


class GroupedProjections(nn.Module):
    """What turns tokens into queries, keys and values, and what they saw into tokens.

    Args:
        width: W.
        heads: H, a multiple of ``kv_heads``.
        kv_heads: K.
        head_width: D.
        bias: of queries, keys and values.
        out_bias: of the output.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        head_width: int,
        *,
        bias: bool = False,
        out_bias: bool = False,
    ) -> None:
        super().__init__()
        self._head_width = head_width
        # Three products: what one would give had to be copied apart, which takes longer.
        self.q = nn.Linear(width, heads * head_width, bias=bias)
        self.k = nn.Linear(width, kv_heads * head_width, bias=bias)
        self.v = nn.Linear(width, kv_heads * head_width, bias=bias)
        self.out = nn.Linear(heads * head_width, width, bias=out_bias)

    def project(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """h [N, W] -> queries [N, H, D], keys and values [N, K, D]; queries are not scaled."""
        h = h.to(self.q.weight.dtype)  # once for all three
        q, k, v = (
            each(h).unflatten(-1, (-1, self._head_width)) for each in (self.q, self.k, self.v)
        )
        return q, k, v

    def finish(self, seen: Tensor) -> Tensor:
        """What heads saw, [N, H, D] -> [N, W]."""
        out: Tensor = self.out(seen.flatten(-2))
        return out


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Softmax attention; a head of keys serves H / K heads of queries, and is not copied for them.

    Args:
        q: [B, H, T, D], not scaled.
        k: [B, K, S, D].
        v: [B, K, S, D].
        bias: added to the scaled scores, [B or 1, 1, T or 1, S].

    Returns:
        [B, H, T, D].
    """
    B, H, T, D = q.shape
    K = k.shape[1]
    if H == K:
        return torch.softmax(q @ k.transpose(-1, -2) * D**-0.5 + bias, dim=-1) @ v
    # The group's queries stand below each other: one product for each head of keys.
    scores = q.reshape(B, K, H // K * T, D) @ k.transpose(-1, -2) * D**-0.5
    shares = torch.softmax(scores.view(B, K, H // K, T, -1) + bias.unsqueeze(2), dim=-1)
    mixed = shares.view(B, K, H // K * T, -1) @ v
    return mixed.view(B, H, T, D)


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What queries see of the tokens up to their own, by torch's fused attention.

    Args:
        q: [B, T, H, D], not scaled.
        k: [B, T, K, D].
        v: [B, T, K, D].

    Returns:
        [B, T, H, D], in the dtype of ``v``.
    """
    # Positions turn queries and keys in float32; under autocast values are narrower.
    q, k, v = (each.to(v.dtype).transpose(1, 2) for each in (q, k, v))
    grouped = q.shape[1] != k.shape[1]
    seen = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
    return seen.transpose(1, 2)
