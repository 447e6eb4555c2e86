"""Gaussian columns that share a few factors, and Gaussian processes as functions of columns."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foretoken.models.tabpfn.prior.causes import causes
from foretoken.models.tabpfn.prior.draws import Draws, standardise

FREQUENCIES = 64


def factor_columns(
    draws: Draws, batch: int, rows: int, features: int, targets: int
) -> tuple[Tensor, Tensor]:
    """Columns [B, F, R] and scores [B, S, R] that are linear in a few common factors."""
    n = features + targets
    k = max(2, min(int(draws.host.gamma(2.0, 3.0)), n))
    load = draws.normal(batch, n, k) * draws.chance(0.6, batch, n, k)
    common = load @ causes(draws, batch, k, rows)
    own = draws.log_uniform(batch, 1, 1, low=0.05, high=4.0)
    x = standardise(common + own * causes(draws, batch, n, rows))
    return x[:, targets:], x[:, :targets]


def gaussian_scores(draws: Draws, z: Tensor, targets: int) -> Tensor:
    """Scores [B, S, R] of random functions of columns z [B, F, R], by random Fourier features.

    Length scales differ by data set and column (relevance); frequencies are normal (RBF kernel)
    or heavy-tailed (rough, Matern-like) (Rahimi & Recht 2007).
    """
    b, f, _ = z.shape
    scale = draws.log_uniform(b, 1, 1, low=0.15, high=2.0) / math.sqrt(max(f, 1)) * 1.5
    relevance = draws.normal(b, 1, f).exp()
    tail = torch.where(
        draws.chance(0.3, b, 1, 1), draws.log_uniform(b, FREQUENCIES, 1, low=0.5, high=6.0), 1.0
    )
    w = draws.normal(b, FREQUENCIES, f) * tail * scale * relevance
    waves = torch.cos(w @ z + draws.uniform(b, FREQUENCIES, 1, high=2 * math.pi))
    return draws.normal(b, targets, FREQUENCIES) @ waves
