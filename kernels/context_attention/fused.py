"""Context attention by torch's fused kernels: for gradients, and on CPUs with tiles of bfloat16.

Letters as in ``reference``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["context_attention", "serves"]

# cuDNN's is left out: it plans anew for each shape, and tables of a training run have all shapes.
BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def serves(q: Tensor) -> bool:
    """Whether this beats the reference: with AMX alone, see README.md."""
    if q.dtype != torch.bfloat16 or q.device.type != "cpu":
        return False
    # Older releases of torch do not tell, and are served by the reference.
    told: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(told.get("amx_bf16", False))


def context_attention(q: Tensor, k: Tensor, v: Tensor, n: Tensor | None) -> Tensor:
    """``reference.context_attention``, a block of keys at a time where torch has such a kernel.

    Args:
        q: [B, H, M, D], scaled.
        k: [B, K, N, D].
        v: [B, K, N, D].
        n: [B] integers, 1..N, how many keys are real; None: all.

    Returns:
        [B, H, M, D].
    """
    B, H, M, D = q.shape
    K, N = k.shape[1], k.shape[2]
    rows = q.reshape(B, K, (H // K) * M, D)  # heads of a group are more rows of one head
    with sdpa_kernel(BACKENDS):
        mixed = scaled_dot_product_attention(rows, k, v, _real(n, N), scale=1.0)
    return mixed.reshape(B, H, M, D)


def _real(n: Tensor | None, N: int) -> Tensor | None:
    """Which keys are real, [B, 1, 1, N]; None where all are, as far as it costs nothing to know."""
    if n is None or (not n.is_cuda and (n == N).all()):
        return None
    return torch.arange(N, device=n.device) < n[:, None, None, None]
