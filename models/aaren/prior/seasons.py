"""Seasonal parts of synthetic series: periods that people live by and others, in many shapes.

Letters: B series, N steps, J harmonics, K entries of a table.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foretoken.models.aaren.prior.draws import Draw, unit
from foretoken.models.aaren.prior.trends import coloured_ar

__all__ = ["seasonal"]

# Of hours, days, weeks, months, quarters, minutes and quarter-hours.
PERIODS = (24, 24, 24, 24, 7, 7, 12, 12, 4, 48, 60, 96, 168, 52, 30, 365.25, 5, 6, 8, 10, 16, 144)
LONGER = (7, 7, 7, 4, 12, 2, 30.4, 52.2)  # the second period over the first


def seasonal(d: Draw) -> Tensor:
    """One to three seasons, [B, N], each growing, fading or drifting; standard deviation 1."""
    known = d.one_of(torch.tensor(PERIODS))
    period = d.either(0.7, known, d.log_uniform(2.5, 300))
    time = _warped(d)
    y = _season(d, period, time)
    longer = d.either(0.7, period * d.one_of(torch.tensor(LONGER)), d.log_uniform(2.5, 300))
    second = d.chance(0.35) * d.log_uniform(0.15, 1.5)
    y = y + second * _season(d, longer, time) * torch.exp(d.chance(0.3) * 0.5 * y)
    third = d.chance(0.1) * d.log_uniform(0.1, 1.0)
    y = y + third * _season(d, d.log_uniform(2.5, 300), time)
    return unit(y)


def _warped(d: Draw) -> Tensor:
    """Time [B, N]; in a tenth of the series its pace changes once, or drifts."""
    at = d.uniform(0, d.N)
    pace = torch.where(d.t > at, d.chance(0.05) * d.normal() * 0.4, torch.zeros_like(at)).exp()
    drift = d.chance(0.05) * 0.02 * d.normal(d.N)
    return (pace * (1 + drift).clamp(0.2, 2)).cumsum(1)


def _season(d: Draw, period: Tensor, time: Tensor) -> Tensor:
    phase = time / period + d.uniform()
    turn = phase - phase.floor()
    forms = (_harmonics, _harmonics, _pulse, _square, _saw, _table, _table)
    which = d.integers(len(forms))
    y = torch.zeros(d.B, d.N, device=d.device)
    for i, form in enumerate(forms):
        y = torch.where(which == i, form(d, turn), y)
    return unit(y) * _amplitude(d)


def _harmonics(d: Draw, turn: Tensor) -> Tensor:
    J = 6
    order = torch.arange(1, J + 1, device=d.device)
    size = d.normal(J) * order ** -d.uniform(0.5, 3.0)
    phase = d.uniform(0, 2 * math.pi, columns=J)
    angles = 2 * math.pi * turn[..., None] * order + phase[:, None]
    return (size[:, None] * torch.cos(angles)).sum(-1)


def _pulse(d: Draw, turn: Tensor) -> Tensor:
    """A bump or dip, once per period."""
    return d.normal().sign() * torch.exp(d.log_uniform(1, 60) * (torch.cos(_angle(turn)) - 1))


def _square(d: Draw, turn: Tensor) -> Tensor:
    return torch.tanh(d.log_uniform(1, 30) * (torch.cos(_angle(turn)) - d.uniform(-0.8, 0.8)))


def _saw(d: Draw, turn: Tensor) -> Tensor:
    rise = d.uniform(0.02, 0.98)
    return torch.where(turn < rise, turn / rise, (1 - turn) / (1 - rise))


def _table(d: Draw, turn: Tensor) -> Tensor:
    """Any value for each part of a period, such as days of a week; or lines between them."""
    K = 24
    parts = d.one_of(torch.tensor((2, 4, 5, 7, 7, 12, 24)))
    table = d.normal(K)
    smooth = table + table.roll(1, 1) + table.roll(-1, 1)
    table = d.either(0.5, table, smooth)
    at = turn * parts
    low = at.long().clamp(max=K - 1)
    here = table.gather(1, low)
    following = table.gather(1, torch.where(low + 1 >= parts, torch.zeros_like(low), low + 1))
    return torch.where(d.chance(0.5), here, here + (following - here) * (at - low))


def _angle(turn: Tensor) -> Tensor:
    return 2 * math.pi * turn


def _amplitude(d: Draw) -> Tensor:
    """Steady, growing or fading, or wandering."""
    growth = torch.exp(d.normal() * (d.t / d.N - 0.5))
    wander = torch.exp(0.4 * unit(coloured_ar(d.normal(d.N), d.uniform(0.9, 0.999))))
    steady = torch.ones_like(growth)
    return d.either(0.6, steady, d.either(0.5, growth, wander))
