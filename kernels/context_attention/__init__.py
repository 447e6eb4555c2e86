"""Attention of test rows to a table's cached training rows; see README.md."""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.kernels.context_attention import fused, reference

__all__ = ["context_attention"]


def context_attention(
    q: Tensor, k: Tensor, v: Tensor, n: Tensor | None, *, fresh: bool = False
) -> Tensor:
    """``reference.context_attention``, by a faster kernel where there is one.

    On a GPU that is the Triton kernel, or ``fused`` for who wants gradients; on a CPU ``fused``
    where it ``serves``. Exported graphs hold the reference. What lies after n has to be finite for
    all but the Triton kernel.

    Args:
        q: [B, H, M, D], scaled.
        k: [B, K, N, D].
        v: [B, K, N, D].
        n: [B] integers, 1..N, how many keys are real; None: all.
        fresh: see ``reference``; no kernel needs to know.

    Returns:
        [B, H, M, D].
    """
    if torch.compiler.is_exporting():
        return reference.context_attention(q, k, v, n, fresh=fresh)
    if q.is_cuda and not _trained(q, k, v):
        from foretoken.kernels.context_attention import triton  # noqa: PLC0415  (Linux only)

        if n is None:
            n = torch.full((len(q),), k.shape[2], device=q.device)
        return triton.context_attention(q, k, v, n)
    if q.is_cuda or (fused.serves(q) and not _trained(q, k, v)):
        return fused.context_attention(q, k, v, n)
    return reference.context_attention(q, k, v, n, fresh=fresh)


def _trained(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
