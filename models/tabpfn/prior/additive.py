"""Linear, additive and rule-like functions of columns."""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.models.tabpfn.prior.draws import Draws, pick_rows

RULES, LITERALS = 6, 3


def linear_scores(draws: Draws, z: Tensor, targets: int) -> Tensor:
    """Scores [B, S, R] linear in columns z [B, F, R], some with a few products of two columns."""
    b, f, _ = z.shape
    heavy = draws.normal(b, targets, f).abs().pow(draws.uniform(b, 1, 1, high=1.5))
    scores = (draws.normal(b, targets, f) * heavy) @ z
    pair = draws.below(f, b, 2, 4)
    left, right = pick_rows(z, pair).unbind(1)
    strength = draws.uniform(b, 1, 1) * draws.chance(0.4, b, 1, 1)
    return scores + (strength * draws.normal(b, targets, 4)) @ (left * right)


def additive_scores(draws: Draws, z: Tensor, targets: int) -> Tensor:
    """Scores [B, S, R]: sums of a bend or a wave of every column of z [B, F, R]."""
    b, f, _ = z.shape
    knot, width = draws.normal(b, f, 1), draws.log_uniform(b, f, 1, low=0.2, high=3.0)
    u = (z - knot) * width
    bent = torch.where(draws.chance(0.5, b, f, 1), torch.tanh(u), torch.exp(-u.square()))
    return draws.normal(b, targets, f) @ bent


def rule_scores(draws: Draws, z: Tensor, targets: int) -> Tensor:
    """Scores [B, S, R]: weighted rules; a rule holds where a row is like an example of it.

    "Like" is within a width of the example's values in 1 to 3 columns (for categories that is
    equality) or, in a third of the data sets, on one side of them. A rule therefore covers at
    least the row it was made from.
    """
    b, f, r = z.shape
    n = targets * RULES
    column = draws.below(f, b, n, LITERALS)
    values = pick_rows(z, column)
    example = draws.below(r, b, n, 1, 1).expand(-1, -1, LITERALS, -1)
    far = values - values.gather(3, example)
    side = draws.normal(b, n, LITERALS, 1).sign()
    far = torch.where(draws.chance(1 / 3, b, 1, 1, 1), far * side, far.abs())
    near = far < draws.log_uniform(b, n, 1, 1, low=0.1, high=1.5)
    unused = torch.arange(LITERALS, device=z.device) > draws.below(LITERALS, b, n, 1)
    holds = (near | unused.unsqueeze(-1)).all(2)
    weighted = (holds * (0.3 + draws.normal(b, n, 1).abs())).view(b, targets, RULES, r)
    return torch.where(draws.chance(0.5, b, 1, 1), weighted.sum(2), weighted.amax(2))
