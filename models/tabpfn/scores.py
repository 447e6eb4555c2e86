"""What regression says of each row, for training: a score for each class, batched in torch.

Both regressions are fitted to the training rows. A training row's scores are those of a fit
without it (leave one out, in closed form), so that they mean for it what they mean for a test row;
what has to be chosen is what has the least leave-one-out error.

``ridge`` is linear in the columns. ``kernel_ridge`` is near what is near: a Gaussian kernel, where
a column counts by the share of its variance that lies between the classes, so that columns which
say nothing do not keep rows apart. It knows interactions, which ridge regression cannot know.

``regression`` does the same in NumPy for one table; a test holds the two together.

Letters: B tables, N training rows, R rows (training rows first), E encoded columns, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from foretoken.models.tabpfn.encoding import (
    CLASSES,
    FLOOR,
    GAIN,
    LENGTHS,
    PENALTIES,
    SMOOTHINGS,
)

__all__ = ["scores"]

Fits = Iterator[tuple[Tensor, Tensor]]  # scores of training rows [B, N, C] and test rows


def scores(encoded: Tensor, share: Tensor, hot: Tensor) -> Tensor:
    """Scores [B, R, 2 CLASSES].

    Args:
        encoded: [B, R, E] standardised columns.
        share: [B, E] of their variance that lies between the classes; of padding anything.
        hot: [B, N, C] indicators of the training rows' classes.
    """
    target = hot - hot.mean(1, keepdim=True)
    fits = ridge(encoded, target), kernel_ridge(encoded, share, target)
    best = [pad(_best(each, target), (0, CLASSES - target.shape[-1])) for each in fits]
    return GAIN * torch.cat(best, -1)


def ridge(encoded: Tensor, target: Tensor) -> Fits:
    """A fit for each of ``PENALTIES``; target is [B, N, C], centred."""
    N = target.shape[1]
    centre = encoded[:, :N].mean(1, keepdim=True)
    seen = encoded[:, :N] - centre
    values, vectors = torch.linalg.eigh(seen.transpose(1, 2) @ seen / N)
    turned = seen @ vectors  # [B, N, E]
    asked = (encoded[:, N:] - centre) @ vectors
    moment = turned.transpose(1, 2) @ target / N  # [B, E, C]
    for penalty in PENALTIES:
        shrunk = 1 / (values.clamp_min(0) + penalty)  # [B, E]
        weights = shrunk[..., None] * moment
        lever = (turned.square() * shrunk[:, None]).sum(-1, keepdim=True) / N + 1 / N
        out = target - (target - turned @ weights) / (1 - lever).clamp_min(1e-2)
        yield out, asked @ weights


def kernel_ridge(encoded: Tensor, share: Tensor, target: Tensor) -> Fits:
    """A fit for each of ``LENGTHS`` and ``SMOOTHINGS``."""
    N = target.shape[1]
    points = encoded * (share.clamp_min(0) + FLOOR).sqrt()[:, None]
    points = points - points[:, :N].mean(1, keepdim=True)
    size = points.square().sum(-1)  # [B, R]
    apart = size[:, :, None] + size[:, None, :N] - 2 * points @ points[:, :N].transpose(1, 2)
    usual = 2 * size[:, :N].mean(1).clamp_min(1e-12)[:, None, None]  # mean squared distance
    one = torch.eye(N, dtype=encoded.dtype, device=encoded.device)
    for length in LENGTHS:
        near = torch.exp(-apart.clamp_min(0) / (length * usual))  # [B, R, N]
        for smoothing in SMOOTHINGS:
            factor = torch.linalg.cholesky(near[:, :N] + smoothing * N * one)
            inverse = torch.cholesky_inverse(factor)
            weights = inverse @ target
            out = target - weights / inverse.diagonal(dim1=1, dim2=2)[..., None]
            yield out, near[:, N:] @ weights


def _best(fits: Fits, target: Tensor) -> Tensor:
    """Scores [B, R, C] by the fit of the least leave-one-out error, for each table."""
    out, asked = next(fits)
    best, least = torch.cat([out, asked], 1), (out - target).square().sum((1, 2))
    for out, asked in fits:
        error = (out - target).square().sum((1, 2))
        best = torch.where((error < least)[:, None, None], torch.cat([out, asked], 1), best)
        least = torch.minimum(error, least)
    return best
