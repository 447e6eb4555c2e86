"""Missing values, with and without a reason."""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.models.tabpfn.prior.draws import Draws, pick_rows, standardise


def remove_values(draws: Draws, shown: Tensor) -> Tensor:
    """Put NaN into columns [B, F, R] of two fifths of the data sets.

    A cell is missing where a score passes a threshold; the score mixes chance, chance shared by
    all columns of a row, and a driver: the column itself or another one.
    """
    b, f, r = shown.shape
    some = draws.chance(0.4, b, 1, 1)
    column = draws.chance(draws.uniform(b, 1, 1), b, f, 1) & some
    index = torch.arange(f, device=shown.device).expand(b, f)
    driver = torch.where(draws.chance(0.5, b, f), draws.below(f, b, f), index)
    reason = standardise(pick_rows(shown, driver)) * draws.normal(b, f, 1)
    reason = reason * draws.chance(0.4, b, f, 1)
    shared = draws.normal(b, 1, r) * (draws.uniform(b, f, 1, high=3.0) * draws.chance(0.3, b, 1, 1))
    score = standardise(reason + shared + draws.normal(b, f, r))
    share = 0.5 * draws.uniform(b, f, 1).pow(3)
    bar = torch.special.ndtri(1 - share.clamp_min(1e-4))
    return shown.masked_fill(column & (score > bar), torch.nan)
