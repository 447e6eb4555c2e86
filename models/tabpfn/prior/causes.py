"""Root nodes: what a table's graph begins with."""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.models.tabpfn.prior.draws import Draws


def causes(draws: Draws, batch: int, n: int, rows: int) -> Tensor:
    """Independent roots [batch, n, rows] of about unit scale.

    Normal, uniform, bimodal, categorical or heavy-tailed; half of the data sets use one kind
    for all of their roots, the others choose per root.
    """
    z = draws.normal(batch, n, rows)
    kind = torch.where(
        draws.chance(0.5, batch, 1), draws.uniform(batch, 1), draws.uniform(batch, n)
    ).unsqueeze(-1)
    flat = torch.erf(z * 0.70711)  # uniform on (-1, 1)
    levels = draws.below(5, batch, n, 1) + 2
    gap = draws.uniform(batch, n, 1, low=1.0, high=3.0)
    share = draws.uniform(batch, n, 1, low=-0.8, high=0.8)
    bimodal = 0.5 * z + gap * torch.sign(torch.roll(flat, 1, 1) - share)
    if n == 1:
        bimodal = z + gap * torch.sign(z - share)
    stepped = ((flat + 1) * 0.5 * levels).floor() * (2.0 / levels) - 1
    heavy = z * torch.exp(0.5 * z.abs().clamp_max(4))
    x = torch.where(kind < 0.45, z, flat * 1.7)
    x = torch.where(kind > 0.6, bimodal, x)
    x = torch.where(kind > 0.75, stepped * 1.5, x)
    return torch.where(kind > 0.9, heavy, x)
