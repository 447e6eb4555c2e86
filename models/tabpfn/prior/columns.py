"""From latent columns to what a table shows: categories, ordinals, copies, units, outliers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from foretoken.models.tabpfn.prior.draws import Draws, pick_rows, standardise

LEVELS = 16  # most categories of a column
POOL = 64  # rows whose order gives the category boundaries


class Columns(NamedTuple):
    """Columns as shown and as a target feels them.

    Fields:
        shown: values or category codes [B, F, R].
        felt: unit-scale values, an unordered category's being unrelated to its code [B, F, R].
        categorical: [B, F].
    """

    shown: Tensor
    felt: Tensor
    categorical: Tensor


def make_columns(draws: Draws, latent: Tensor) -> Columns:
    """Turn latent columns [B, F, R] into shown and felt ones."""
    x = disturb_columns(draws, standardise(latent))
    b, f, _ = x.shape
    style = draws.uniform(b, 1)
    share = torch.where(style < 0.35, 0.0, torch.where(style < 0.8, draws.uniform(b, 1), 1.0))
    categorical = draws.chance(share, b, f)
    share = torch.where(draws.chance(0.08, b, 1), 1.0, draws.uniform(b, 1).pow(3))
    ordinal = draws.chance(share, b, f) & ~categorical
    codes, levels = bin_columns(draws, x)
    effect = draws.normal(b, f, LEVELS)
    ordered = draws.chance(draws.uniform(b, 1), b, f)
    effect = torch.where(ordered.unsqueeze(2), effect.sort(2).values, effect)
    felt = torch.where(categorical.unsqueeze(2), standardise(effect.gather(2, codes)), x)
    felt = torch.where(ordinal.unsqueeze(2), standardise(codes.float()), felt)
    # Codes of unordered categories are shuffled, so that they say nothing of the latent order.
    level = torch.arange(LEVELS, device=x.device).expand(b, f, LEVELS)
    key = torch.where(level < levels, draws.uniform(b, f, LEVELS), level + 1.0)
    names = key.argsort(2).gather(2, codes)
    shown = torch.where((categorical & ~ordered).unsqueeze(2), names, codes).float()
    discrete = categorical | ordinal
    shown = torch.where(discrete.unsqueeze(2), shown, warp(draws, x))
    return Columns(shown, felt, categorical)


def bin_columns(draws: Draws, x: Tensor) -> tuple[Tensor, Tensor]:
    """Bins [B, F, R] of columns by rank, and how many each has [B, F, 1].

    The bins' shares are random, even in some data sets and very uneven in others.
    """
    b, f, _ = x.shape
    most = draws.uniform(b, 1, 1, low=2.0, high=LEVELS + 1.0)
    levels = (2 + draws.alike(0.4, b, f).square() * (most - 1)).floor().long().clamp_max(LEVELS)
    level = torch.arange(LEVELS, device=x.device)
    uneven = draws.uniform(b, 1, 1, high=1.5) * draws.chance(0.85, b, 1, 1)
    weight = (draws.normal(b, f, LEVELS) * uneven).exp()
    edge = (weight * (level < levels)).cumsum(2)
    edge = (edge / edge[..., -1:])[..., :-1]
    pool = x[:, :, :POOL].sort(2).values
    at = (edge * pool.shape[2]).long().clamp_max(pool.shape[2] - 1)
    boundary = pool.gather(2, at).masked_fill(level[:-1] >= levels - 1, torch.inf)
    return torch.searchsorted(boundary.contiguous(), x.contiguous()), levels


def disturb_columns(draws: Draws, x: Tensor) -> Tensor:
    """Make some columns of some data sets near-copies of others or unrelated to everything."""
    b, f, r = x.shape
    index = torch.arange(f, device=x.device).expand(b, f)
    share = draws.uniform(b, 1, high=0.4) * draws.chance(0.25, b, 1)
    copied = draws.chance(share, b, f)
    x = pick_rows(x, torch.where(copied, draws.below(f, b, f), index))
    noise = draws.log_uniform(b, f, 1, low=0.01, high=1.0) * copied.unsqueeze(2)
    x = x + noise * draws.normal(b, 1, r)
    share = draws.uniform(b, 1, high=0.7) * draws.chance(0.3, b, 1)
    unrelated = draws.chance(share, b, f).unsqueeze(2)
    turned = torch.arange(r, device=x.device) + unrelated * draws.below(r, b, f, 1)
    return standardise(x.gather(2, turned % r))


def warp(draws: Draws, x: Tensor) -> Tensor:
    """Monotone warps, then units: scale and offset of a column, and a few outliers."""
    b, f, r = x.shape
    # Some columns are read to a coarse unit, or pile up at their least or most value.
    unit = draws.log_uniform(b, f, 1, low=0.02, high=0.5)
    x = torch.where(draws.chance(0.3, b, f, 1), (x / unit).round() * unit, x)
    piled = draws.chance(0.15 * draws.chance(0.5, b, 1, 1), b, f, 1)
    x = torch.where(piled, x.clamp_min(draws.normal(b, f, 1).clamp_max(1.0)), x)
    x = torch.where(draws.chance(0.5, b, f, 1), x, -x)
    kind = draws.alike(0.4, b, f) * draws.chance(0.6, b, 1, 1)  # below 0.4: as it is
    power = 0.3 * 10 ** draws.alike(0.4, b, f)
    x = torch.where(kind > 0.4, (x * power).clamp(-8, 8).exp(), x)
    x = torch.where(kind > 0.75, x.sign() * x.abs().clamp(1e-3, 1e3).pow(power), x)
    far = draws.chance(0.1, b, f, 1) & (draws.uniform(b, f, r) < 0.02)
    x = torch.where(far, x * draws.log_uniform(b, f, 1, low=2.0, high=30.0), x)
    scale = 10 ** (5 * draws.alike(0.3, b, f) - 2)
    return scale * (x + draws.normal(b, f, 1) * draws.chance(0.5, b, f, 1) * 3)
