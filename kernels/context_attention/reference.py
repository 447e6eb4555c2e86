"""Context attention in plain torch: any dtype, float64 for tests.

Letters: B tables, N training rows (padded), M rows that ask, H heads, K key/value heads, D width of
a head, G = H / K heads that share a key/value head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["context_attention"]

# Bytes of scores at a time: malloc gives larger tensors back to the system, and every product then
# faults its pages in anew. It also bounds what a long table takes.
BLOCK = 4 << 20
LEAST = 64  # rows of a block, for each of which all keys are packed again


def context_attention(
    q: Tensor, k: Tensor, v: Tensor, n: Tensor | None, *, fresh: bool = False
) -> Tensor:
    """Attention of q to the first n[b] of N keys.

    Args:
        q: [B, H, M, D], scaled; heads g*K .. are grouped so that head h reads head h // G.
        k: [B, K, N, D].
        v: [B, K, N, D].
        n: [B] integers, 1..N, how many keys are real; None: all.
        fresh: whether so many rows ask that copies of q and k cost less than a pass over the
            scores: the mask is then one more column of both, and the product adds it.

    Returns:
        [B, H, M, D].
    """
    B, H, M, D = q.shape
    K, N = k.shape[1], k.shape[2]
    q = q.reshape(B, K, (H // K) * M, D)
    mask = None if n is None or _full(n, N) else _mask(n, N, q.dtype)
    if mask is not None and fresh and not q.is_cuda:  # where odd widths are slow
        k = torch.cat([k, mask[:, None, :, None].expand(-1, K, -1, -1)], dim=-1)
        q, mask = pad(q, (0, 1), value=1.0), None
    blocks = [_mixed(rows, k, v, mask) for rows in _blocks(q, N)]
    mixed = blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=2)
    return mixed.reshape(B, H, M, D)


def _mixed(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """q [B, K, R, D], additive mask [B, N] -> [B, K, R, D]."""
    scores = q @ k.transpose(-1, -2)  # [B, K, R, N]
    if mask is not None:
        scores = scores + mask[:, None, None]
    # Softmax adds up in float32 whatever it reads and writes: no copies for autocast's sake.
    return torch.softmax(scores, dim=-1, dtype=v.dtype) @ v


def _blocks(q: Tensor, N: int) -> tuple[Tensor, ...]:
    """q [B, K, R, D] in blocks of rows; whole in a trace, on a GPU, and for gradients."""
    if torch.compiler.is_compiling() or q.is_cuda or torch.is_grad_enabled():
        return (q,)
    line = q.shape[0] * q.shape[1] * N * q.element_size()
    return torch.split(q, max(LEAST, BLOCK // max(1, line)), dim=2)


def _mask(n: Tensor, N: int, dtype: torch.dtype) -> Tensor:
    """Additive [B, N]: 0 for the first n[b] of N keys, a large negative number after."""
    padding = torch.arange(N, device=n.device) >= n[:, None]
    zeros = torch.zeros(padding.shape, device=n.device, dtype=dtype)
    return zeros.masked_fill(padding, torch.finfo(dtype).min / 2)


def _full(n: Tensor, N: int) -> bool:
    """Whether nothing is padding, where that can be known for nothing: not in a trace."""
    if torch.compiler.is_compiling() or n.is_cuda:
        return False
    return bool((n == N).all())
