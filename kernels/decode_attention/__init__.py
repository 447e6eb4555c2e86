"""Attention of a row's last tokens to all of its tokens, in blocks of a pool; see README.md."""

from __future__ import annotations

from torch import Tensor

from foretoken.kernels.decode_attention import reference
from foretoken.kernels.served import by_kernel

__all__ = ["decode_attention"]


def decode_attention(
    q: Tensor, keys: Tensor, values: Tensor, tables: Tensor, seen: Tensor
) -> Tensor:
    """``reference.decode_attention``, by the Triton kernel where there is a GPU; takes the same."""
    if not by_kernel(q, keys, values):
        return reference.decode_attention(q, keys, values, tables, seen)
    from foretoken.kernels.decode_attention import triton  # noqa: PLC0415  (Linux only)

    return triton.decode_attention(q, keys, values, tables, seen)
