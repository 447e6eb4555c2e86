"""Inverses of positive definite matrices, batched in torch."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["by_blocks", "inverse"]

SMALL = 64  # rows up to which a GPU factorises a whole batch at once


def inverse(matrix: Tensor) -> Tensor:
    """Inverse of matrix [..., N, N], symmetric and positive definite."""
    if matrix.is_cuda:
        return by_blocks(matrix)
    return torch.cholesky_inverse(torch.linalg.cholesky(matrix))


def by_blocks(matrix: Tensor) -> Tensor:
    """The same for a GPU, which multiplies a batch at once but factorises one after another.

    A matrix that is not positive definite becomes NaN.

    The inverse of a quarter and that of its Schur complement give the whole.
    """
    N = matrix.shape[-1]
    if N <= SMALL:
        factor, wrong = torch.linalg.cholesky_ex(matrix)  # which does not wait for the device
        factor = torch.where(wrong[..., None, None] > 0, torch.nan, factor)
        one = torch.eye(N, dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
        half: Tensor = torch.linalg.solve_triangular(factor, one, upper=False)
        return half.mT @ half
    cut = N // 2
    first = by_blocks(matrix[..., :cut, :cut])
    across = first @ matrix[..., :cut, cut:]
    rest = by_blocks(matrix[..., cut:, cut:] - matrix[..., cut:, :cut] @ across)
    corner = -across @ rest
    made = torch.empty_like(matrix)
    made[..., :cut, :cut] = first - corner @ across.mT
    made[..., :cut, cut:] = corner
    made[..., cut:, :cut] = corner.mT
    made[..., cut:, cut:] = rest
    return made
