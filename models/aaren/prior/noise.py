"""Fast parts of synthetic series: autoregressive, heavy-tailed and heteroscedastic noise.

Letters: B series, N steps, P poles.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foretoken.models.aaren.prior.draws import Draw, unit
from foretoken.models.aaren.prior.trends import coloured_ar, filtered

__all__ = ["noise"]


def noise(d: Draw) -> Tensor:
    """Noise [B, N] of standard deviation 1, with or without memory, steady or not."""
    white = d.either(0.6, d.normal(d.N), d.student(d.N))
    y = white * d.either(0.6, torch.ones_like(white), _volatility(d))
    y = d.either(0.45, y, d.either(0.5, coloured_ar(y, _pole(d)), _autoregressive(d, y)))
    return unit(y)


def _pole(d: Draw) -> Tensor:
    """Of an AR(1): mostly memory of 2 to 200 steps, sometimes alternation."""
    return d.either(0.9, 1 - d.log_uniform(0.005, 0.7), -d.uniform(0.1, 0.9))


def _autoregressive(d: Draw, y: Tensor) -> Tensor:
    """AR(1) to AR(5): a real pole and up to two pairs of complex ones."""
    pole, pairs = _pole(d), []
    for p in (0.8, 0.4):
        radius = d.chance(p) * (1 - d.log_uniform(0.003, 0.5))
        angle = d.either(0.5, d.uniform(0, math.pi), 2 * math.pi / d.log_uniform(3, 60))
        pairs.append((2 * radius * torch.cos(angle), radius**2))

    def gain(z: Tensor) -> Tensor:
        out = 1 / (1 - pole * z)
        for a, b in pairs:
            out = out / (1 - a * z + b * z**2)
        return out

    return filtered(y, gain)


def _volatility(d: Draw) -> Tensor:
    """Scale over time: log-AR(1), a trend, or switching between two levels."""
    wander = torch.exp(0.7 * unit(coloured_ar(d.normal(d.N), d.uniform(0.8, 0.995))))
    trend = torch.exp(d.normal() * 1.5 * d.t / d.N)
    turns = (d.uniform(columns=d.N) < d.log_uniform(0.002, 0.05)).cumsum(1) % 2
    switching = 1 + turns * d.log_uniform(1, 10)
    return d.either(0.4, wander, d.either(0.4, trend, switching))
