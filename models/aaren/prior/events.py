"""What breaks the rules of a series: regimes, outliers, sensors, counts.

Letters: B series, N steps, K changes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.models.aaren.prior.draws import Draw

__all__ = ["counted", "disturbed", "measured"]


def disturbed(d: Draw, y: Tensor) -> Tensor:
    """Level shifts, changes of scale, spikes and outliers, each in a share of the series."""
    shifts, scales = _steps(d, 0.2), _steps(d, 0.08)
    y = y * torch.exp(0.7 * scales) + 2 * shifts
    rate = d.chance(0.2) * d.log_uniform(0.002, 0.05)
    hit = d.uniform(columns=d.N) < rate
    sign = d.either(0.5, d.normal(d.N), d.normal(d.N).abs() * d.normal().sign())
    spikes = hit * sign * d.log_uniform(1.5, 15)
    lasting = d.chance(0.3) * d.uniform(0.3, 0.9)
    for _ in range(3):  # some decay over a few steps
        spikes = spikes + lasting * torch.nn.functional.pad(spikes, (1, 0))[:, :-1] * (spikes == 0)
    return y + spikes


def _steps(d: Draw, p: float) -> Tensor:
    """Piecewise constant [B, N], up to K changes; 0 where there are none."""
    K = 4
    at = d.uniform(0, d.N, columns=K)
    size = d.normal(K) * (d.uniform(columns=K) < d.uniform()) * d.chance(p)
    return ((d.t > at[..., None]) * size[..., None]).sum(1)


def measured(d: Draw, y: Tensor) -> Tensor:
    """Rounding, limits, values that are held, and series that stand still."""
    grain = d.log_uniform(0.02, 2.0)
    y = d.either(0.1, (y / grain).round() * grain, y)
    low, high = d.normal() - 1.0, d.normal() + 1.0
    y = torch.where(d.chance(0.04), torch.maximum(y, low), y)
    y = torch.where(d.chance(0.03), torch.minimum(y, high), y)
    y = torch.where(d.chance(0.08), _held(d, y), y)
    return torch.where(d.chance(0.015), y[:, :1] + _steps(d, 0.5), y)


def _held(d: Draw, y: Tensor) -> Tensor:
    """Some values repeat the one before: at random, or for a while."""
    random = d.uniform(columns=d.N) < d.uniform(0, 0.9)
    start, span = d.uniform(0, d.N), d.log_uniform(3, 100)
    stuck = d.either(0.5, random, (d.t > start) & (d.t < start + span))
    index = torch.where(stuck, torch.zeros_like(d.t), d.t).cummax(1).values
    return y.gather(1, index.long())


def counted(d: Draw, y: Tensor) -> Tensor:
    """Counts at a rate that follows ``y``, or sizes at random times; at least 0."""
    rate = torch.exp((d.uniform(0.2, 1.0) * y).clamp(-6, 6)) * d.log_uniform(0.03, 30)
    counts = torch.poisson(rate.clamp(max=1e4), generator=d.generator)
    sizes = torch.exp(0.7 * d.normal(d.N)) * (d.uniform(columns=d.N) < rate.clamp(max=0.9))
    return d.either(0.7, counts, sizes)
