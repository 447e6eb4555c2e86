"""The bar distribution as a training loss, in torch; ``foretoken.distributions`` is its NumPy twin.

A density that is constant within each of K bars, but for half-normal tails on the first and last
(Müller et al. 2021, section 4 and appendix E): each tail keeps half of its mass within the width
of its own bar, so every real number has positive density.

Letters: ... any leading axes, K bars.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["bar_nll", "equal_mass_borders"]

HALF_NORMAL_MEDIAN = 0.6744897501960817  # of |Z|, Z standard normal


def bar_nll(logits: Tensor, y: Tensor, borders: Tensor) -> Tensor:
    """Negative log density of y.

    Args:
        logits: [..., K] any float dtype; computed in float32 or better.
        y: [...] targets, any real number.
        borders: [K + 1] strictly increasing, K >= 2.

    Returns:
        [...] in the dtype of the computation.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    borders, y = borders.to(dtype), y.to(dtype).contiguous()
    widths = borders.diff()
    K = len(widths)
    bar = torch.bucketize(y, borders[1:-1].contiguous())  # the first bar's index is 0
    log_density = -widths.log()
    inside = log_density[bar]
    low, high = widths[0] / HALF_NORMAL_MEDIAN, widths[-1] / HALF_NORMAL_MEDIAN
    inside = torch.where(bar == 0, _half_normal(borders[1] - y, low), inside)
    inside = torch.where(bar == K - 1, _half_normal(y - borders[-2], high), inside)
    logits = logits.to(dtype)
    chosen = logits.gather(-1, bar.unsqueeze(-1)).squeeze(-1)
    return torch.logsumexp(logits, dim=-1) - chosen - inside


def _half_normal(distance: Tensor, scale: Tensor) -> Tensor:
    """Log density of |N(0, scale²)| at distance [...] >= 0."""
    return 0.5 * math.log(2 / math.pi) - scale.log() - 0.5 * (distance / scale) ** 2


def equal_mass_borders(samples: Tensor, bars: int) -> Tensor:
    """Borders [bars + 1] float32 that put equally many of the samples into every bar.

    Interior borders lie half-way between neighbouring samples. The outer ones are the medians of
    the outermost groups, because that is where a half-normal tail has half of its mass.
    """
    y = samples.flatten().double().sort().values
    cuts = torch.arange(1, bars, device=y.device) * len(y) // bars
    inner = (y[cuts - 1] + y[cuts]) / 2
    per = max(len(y) // bars, 2)
    return torch.cat([y[:per].median()[None], inner, y[-per:].median()[None]]).float()
