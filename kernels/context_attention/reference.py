"""Context attention in plain torch: any dtype, float64 for tests.

Letters: B tables, N training rows (padded), M rows that ask, H heads, K key/value heads, D width of
a head, G = H / K heads that share a key/value head.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["context_attention"]


def context_attention(q: Tensor, k: Tensor, v: Tensor, n: Tensor) -> Tensor:
    """Attention of q to the first n[b] of N keys.

    Args:
        q: [B, H, M, D], scaled; heads g*K .. are grouped so that head h reads head h // G.
        k: [B, K, N, D].
        v: [B, K, N, D].
        n: [B] integers, 1..N, how many keys are real.

    Returns:
        [B, H, M, D].
    """
    B, H, M, D = q.shape
    K, N = k.shape[1], k.shape[2]
    grouped = q.reshape(B, K, (H // K) * M, D)
    scores = grouped @ k.transpose(-1, -2)  # [B, K, G M, N]
    if not _full(n, N):
        real = torch.arange(N, device=n.device) < n[:, None]
        zeros = torch.zeros(real.shape, device=q.device, dtype=q.dtype)
        scores = scores + zeros.masked_fill(~real, torch.finfo(q.dtype).min / 2)[:, None, None]
    # Softmax adds up in float32 whatever it reads and writes: no copies for autocast's sake.
    mixed = torch.softmax(scores, dim=-1, dtype=v.dtype) @ v
    return mixed.reshape(B, H, M, D)


def _full(n: Tensor, N: int) -> bool:
    """Whether nothing is padding, where that can be known for nothing: not in a trace."""
    if torch.compiler.is_compiling() or n.is_cuda:
        return False
    return bool((n == N).all())
