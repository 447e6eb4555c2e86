"""Tables as the network sees them, for training: the pipeline "ordered", batched in torch.

Every step is fitted on the training rows alone, so a test row needs nothing but itself.

1. A numeric column is standardised (or made Gaussian by its ranks), its tails squashed. A column
   of at most ``LEVELS`` categories becomes indicators; one with missing values also gets an
   indicator of them, and the missing values become 0, the mean.
2. Columns are ordered by the share of their variance that lies between the classes, and turned so
   that the first class lies above the mean: neither the order nor the sign of a column is anything
   that the network has to learn to ignore. The first ``COLUMNS`` are kept.
3. Two regressions on them and a forest on the raw columns give each class scores, for a training
   row without its own label (``scores``, ``forests``).

A class is known by its place in the order of frequency, turned by a shift. ``ordered`` does the
same in NumPy for one table; a test holds the two together.

Letters: B tables, N training rows, R rows (training rows first), F columns, E encoded columns,
C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from foretoken.models.tabpfn.encoding import CLASSES, COLUMNS, LEVELS, SCORES, TAIL
from foretoken.models.tabpfn.scores import scores

__all__ = ["COLUMNS", "SCORES", "View", "see"]


@dataclass(frozen=True)
class View:
    """What is done to the tables of a batch.

    Args:
        gauss: make numeric columns Gaussian by ranks, rather than standardise them.
        indicators: of categories; else their codes are standardised.
        shift: of the classes.
    """

    gauss: bool = False
    indicators: bool = True
    shift: int = 0


def see(
    x: Tensor, y: Tensor, categorical: Tensor, N: int, view: View, forest: Tensor
) -> tuple[Tensor, Tensor]:
    """Features [B, R, SCORES + E] and classes [B, R] as the network gets them.

    Args:
        x: [B, R, F] raw values, NaN where missing.
        y: [B, R] classes 0..C-1; those of test rows are only renamed.
        categorical: [B, F] whether values are codes.
        N: training rows, which come first.
        view: which of the ways to look at them.
        forest: [B, R, CLASSES] what ``forests`` says, by the classes' own numbers.
    """
    names = by_frequency(y, N, view.shift)
    labels = names.gather(1, y)
    hot = one_hot(labels[:, :N], CLASSES).to(x.dtype)  # [B, N, C]
    encoded, share = ordered(encode(x, categorical, N, view), hot, N)
    # A class that a table has not gets nothing, whoever's name it shares.
    index = names[:, None].expand_as(forest)
    said = torch.zeros_like(forest).scatter_add_(2, index, forest)
    return torch.cat([scores(encoded, share, hot, said), encoded], dim=-1), labels


def by_frequency(y: Tensor, N: int, shift: int) -> Tensor:
    """Names [B, CLASSES] of classes: by falling frequency in training rows, turned by ``shift``."""
    counts = one_hot(y[:, :N], CLASSES).sum(1)  # [B, C]
    place = counts.argsort(dim=1, descending=True, stable=True).argsort(1)
    C = (counts > 0).sum(1, keepdim=True)
    return (place + shift) % C


def encode(x: Tensor, categorical: Tensor, N: int, view: View) -> Tensor:
    """Standardised columns [B, R, E], zeros after those that a table has."""
    missing = x.isnan()
    codes = x.nan_to_num(nan=-1.0)
    levels = torch.where(categorical, codes.amax(1) + 1, 0.0)  # [B, F]
    split = categorical & (levels <= LEVELS) & view.indicators
    repeats = torch.where(split, levels, 1.0).long()
    gaps = missing[:, :N].any(1)  # [B, F]
    source, level = _spread(repeats, gaps)  # [B, E]; level -1 is a value, -2 a gap, -3 nothing
    index = source[:, None].expand(-1, x.shape[1], -1)
    value = x if not view.gauss else torch.where(categorical[:, None], x, _gaussian(x, N))
    value = value.gather(2, index)
    is_split = split.gather(1, source) & (level >= 0)
    wanted = level[:, None].to(x.dtype)
    hot = torch.where(value.isnan(), value, (codes.gather(2, index) == wanted).to(x.dtype))
    value = torch.where(is_split[:, None], hot, value)
    gap = missing.gather(2, index).to(x.dtype)
    value = torch.where((level == -2)[:, None], gap, value)
    return _standardised(value, N) * (level > -3)[:, None]


def _spread(repeats: Tensor, gaps: Tensor) -> tuple[Tensor, Tensor]:
    """For each encoded column [B, E] the column that it comes from, and which of its parts."""
    B, F = repeats.shape
    total = repeats + gaps.long()
    ends = total.cumsum(1)  # [B, F]
    E = int(ends[:, -1].max())
    slot = torch.arange(E, device=repeats.device).expand(B, E).contiguous()
    source = torch.searchsorted(ends, slot, right=True)
    beyond = source >= F
    source = source.clamp_max(F - 1)
    part = slot - (ends - total).gather(1, source)
    many = repeats.gather(1, source)
    level = torch.where(part >= many, -2, part)
    level = torch.where((many == 1) & (part == 0), -1, level)
    return source, torch.where(beyond, -3, level)


def _standardised(value: Tensor, N: int) -> Tensor:
    seen = value[:, :N]
    mean = seen.nanmean(1, keepdim=True).nan_to_num()
    var = (seen - mean).square().nanmean(1, keepdim=True).nan_to_num()
    z = (value - mean) / var.sqrt().clamp_min(1e-12)
    z = torch.where(var > 1e-12 * mean.square(), z, 0.0).nan_to_num(nan=0.0)
    size = z.abs()
    return torch.where(size > TAIL, z.sign() * (TAIL + (size - TAIL).clamp_min(0).log1p()), z)


def _gaussian(x: Tensor, N: int) -> Tensor:
    """Normal quantiles of the ranks of x [B, R, F] among its first N rows, missing ones kept."""
    seen = x[:, :N].transpose(1, 2).nan_to_num(nan=torch.inf).sort(-1).values.contiguous()
    asked = x.transpose(1, 2).contiguous()
    low = torch.searchsorted(seen, asked.nan_to_num(nan=0.0))
    high = torch.searchsorted(seen, asked.nan_to_num(nan=0.0), right=True)
    count = (seen < torch.inf).sum(-1, keepdim=True)
    u = ((low + high) / 2 + 0.5) / (count + 1)
    z = torch.erfinv((2 * u - 1).clamp(-0.9999, 0.9999)) * 2**0.5
    return torch.where(asked.isnan(), asked, z).transpose(1, 2)


def ordered(encoded: Tensor, hot: Tensor, N: int) -> tuple[Tensor, Tensor]:
    """The columns that tell classes apart best, best first, turned the same way: [B, R, E].

    And the share of each one's variance that lies between the classes, [B, E].
    """
    counts = hot.sum(1)  # [B, C]
    means = hot.transpose(1, 2) @ encoded[:, :N] / counts.clamp_min(1)[..., None]  # [B, C, E]
    between = (counts[..., None] * means.square()).sum(1)
    total = encoded[:, :N].square().sum(1)
    share = torch.where(total > 0, between / total.clamp_min(1e-12), -1.0)
    E = min(COLUMNS, encoded.shape[-1])
    best = share.round(decimals=6).argsort(dim=1, descending=True, stable=True)[:, :E]
    sign = torch.where(means[:, 0] < -1e-6, -1.0, 1.0).gather(1, best)
    kept = encoded.gather(2, best[:, None].expand(-1, encoded.shape[1], -1)) * sign[:, None]
    return kept, share.gather(1, best)
