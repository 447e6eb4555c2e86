"""What regression and a forest say of each row, for training: scores of classes, batched in torch.

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
from foretoken.models.tabpfn.inverse import inverse

__all__ = ["scores"]

Fits = Iterator[tuple[Tensor, Tensor]]  # scores of training rows [B, N, C] and test rows


def scores(encoded: Tensor, share: Tensor, hot: Tensor, forest: Tensor) -> Tensor:
    """Scores [B, R, SCORES].

    Args:
        encoded: [B, R, E] standardised columns.
        share: [B, E] of their variance that lies between the classes; of padding anything.
        hot: [B, N, C] indicators of the training rows' classes.
        forest: [B, R, C] what ``forests`` says, by the same names of the classes.
    """
    target = hot - hot.mean(1, keepdim=True)
    fits = ridge(encoded, target), kernel_ridge(encoded, share, target)
    best = [pad(_best(each, target), (0, CLASSES - target.shape[-1])) for each in fits]
    return GAIN * torch.cat([*best, forest], -1)


def ridge(encoded: Tensor, target: Tensor) -> Fits:
    """A fit for each of ``PENALTIES``; target is [B, N, C], centred."""
    N, E = target.shape[1], encoded.shape[2]
    wide = encoded.double()  # columns may be nearly copies of each other
    centre = wide[:, :N].mean(1, keepdim=True)
    seen, asked = wide[:, :N] - centre, wide[:, N:] - centre
    gram, moment = seen.mT @ seen / N, seen.mT @ target.double() / N
    one = torch.eye(E, dtype=wide.dtype, device=wide.device)
    for penalty in PENALTIES:
        solved = inverse(gram + penalty * one)  # [B, E, E]
        weights = solved @ moment  # [B, E, C]
        lever = ((seen @ solved) * seen).sum(-1, keepdim=True) / N + 1 / N
        out = target - (target - seen @ weights) / (1 - lever).clamp_min(1e-2)
        yield out.to(target.dtype), (asked @ weights).to(target.dtype)


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
            solved = inverse(near[:, :N] + smoothing * N * one)
            weights = solved @ target
            out = target - weights / solved.diagonal(dim1=1, dim2=2)[..., None]
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
