"""Context attention by torch's fused kernel, on CPUs that multiply tiles of bfloat16.

Letters as in ``reference``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["context_attention", "serves"]


def serves(q: Tensor) -> bool:
    """Whether this beats the reference: with AMX alone, see README.md."""
    if q.dtype != torch.bfloat16 or q.device.type != "cpu":
        return False
    # Older releases of torch do not tell, and are served by the reference.
    told: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(told.get("amx_bf16", False))


def context_attention(q: Tensor, k: Tensor, v: Tensor, n: Tensor) -> Tensor:
    """``reference.context_attention``, a block of keys at a time: no score leaves the caches.

    Args:
        q: [B, H, M, D], scaled.
        k: [B, K, N, D].
        v: [B, K, N, D].
        n: [B] integers, 1..N, how many keys are real.

    Returns:
        [B, H, M, D].
    """
    B, H, M, D = q.shape
    K, N = k.shape[1], k.shape[2]
    rows = q.reshape(B, K, (H // K) * M, D)
    real = None if (n == N).all() else torch.arange(N) < n[:, None, None, None]  # [B, 1, 1, N]
    mixed = scaled_dot_product_attention(rows, k, v, real, scale=1.0)
    return mixed.reshape(B, H, M, D)
