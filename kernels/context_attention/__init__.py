"""Attention of test rows to a table's cached training rows; see README.md."""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.kernels.context_attention import reference

__all__ = ["context_attention"]


def context_attention(q: Tensor, k: Tensor, v: Tensor, n: Tensor, *, fresh: bool = False) -> Tensor:
    """``reference.context_attention``, by the Triton kernel on a GPU where nobody wants gradients.

    Exported graphs hold the reference.

    Args:
        q: [B, H, M, D], scaled.
        k: [B, K, N, D].
        v: [B, K, N, D].
        n: [B] integers, 1..N, how many keys are real.
        fresh: see ``reference``; the kernel masks for nothing.

    Returns:
        [B, H, M, D].
    """
    if q.is_cuda and not torch.compiler.is_exporting() and not _trained(q, k, v):
        from foretoken.kernels.context_attention import triton  # noqa: PLC0415  (Linux only)

        return triton.context_attention(q, k, v, n)
    return reference.context_attention(q, k, v, n, fresh=fresh)


def _trained(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
