"""The prior of ``aaren-forecast``: synthetic series of trends, seasons, noise and events.

No figure here was fitted to measured series. A series is a weighted sum of a slow, a seasonal and a
fast part, some of which are absent; some are exponentials of such a sum, or counts at its rate;
then come events, a sensor's limits, and an offset by which the series is or is not far from 0.

Letters: B series, N steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.models.aaren.prior.draws import Draw, unit
from foretoken.models.aaren.prior.events import counted, disturbed, measured
from foretoken.models.aaren.prior.noise import noise
from foretoken.models.aaren.prior.seasons import seasonal
from foretoken.models.aaren.prior.trends import slow

__all__ = ["sample"]


def sample(B: int, N: int, generator: torch.Generator) -> Tensor:
    """Draw series.

    Args:
        B: how many.
        N: steps of each.
        generator: where all numbers come from; series lie on its device.

    Returns:
        [B, N] float64, finite.
    """
    d = Draw(B, N, generator)
    y = _sum(d)
    steep = d.log_uniform(0.1, 1.5)
    y = d.either(0.2, unit(torch.exp((steep * y).clamp(-8, 8))), y)
    y = measured(d, disturbed(d, y))
    least = y.min(1, keepdim=True).values
    offset = d.either(0.35, -least, d.normal().sign() * d.log_uniform(0.1, 1e4))
    y = d.either(0.92, y.double() + offset, counted(d, y).double())
    # Units are nobody's choice: float64 holds them, whatever they are.
    return y * d.log_uniform(1e-3, 1e3).double()


def _sum(d: Draw) -> Tensor:
    """Weights are log-normal, and a part may be absent; one that is always there is chosen."""
    parts = torch.stack([slow(d), seasonal(d), noise(d)], dim=1)  # [B, 3, N]
    weights = torch.exp(d.normal(3)) * torch.tensor([1.0, 1.0, 0.5], device=d.device)
    there = d.uniform(columns=3) < torch.tensor([0.75, 0.7, 0.9], device=d.device)
    sure = torch.nn.functional.one_hot(d.integers(3)[:, 0], 3).bool()
    return unit((parts * (weights * (there | sure))[..., None]).sum(1))
