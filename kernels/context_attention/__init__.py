"""Attention of test rows to a table's cached training rows; see README.md."""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.kernels.context_attention import fused, reference

__all__ = ["context_attention"]


def context_attention(q: Tensor, k: Tensor, v: Tensor, n: Tensor, *, fresh: bool = False) -> Tensor:
    """``reference.context_attention``, by a faster kernel where nobody wants gradients.

    That is the Triton kernel on a GPU, and ``fused`` where it ``serves``. Exported graphs hold the
    reference.

    Args:
        q: [B, H, M, D], scaled.
        k: [B, K, N, D].
        v: [B, K, N, D].
        n: [B] integers, 1..N, how many keys are real.
        fresh: see ``reference``; no kernel needs to know.

    Returns:
        [B, H, M, D].
    """
    if torch.compiler.is_exporting() or _trained(q, k, v):
        return reference.context_attention(q, k, v, n, fresh=fresh)
    if q.is_cuda:
        from foretoken.kernels.context_attention import triton  # noqa: PLC0415  (Linux only)

        return triton.context_attention(q, k, v, n)
    if fused.serves(q):
        return fused.context_attention(q, k, v, n)
    return reference.context_attention(q, k, v, n, fresh=fresh)


def _trained(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
