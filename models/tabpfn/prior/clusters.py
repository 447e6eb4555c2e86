"""Tables whose rows belong to clusters, and whose classes are groups of clusters."""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.models.tabpfn.prior.draws import Draws

CLUSTERS = 16


def cluster_columns(
    draws: Draws, batch: int, rows: int, features: int, targets: int
) -> tuple[Tensor, Tensor]:
    """Columns [B, F, R] given a row's cluster, and scores [B, S, R] of its cluster's classes.

    The target is the cause here. Centres, spreads and how much a column tells differ by column.
    """
    b = batch
    used = draws.below(CLUSTERS - 1, b, 1) + 2
    weight = draws.normal(b, CLUSTERS).mul(draws.uniform(b, 1)).exp()
    weight = weight * (torch.arange(CLUSTERS, device=draws.device) < used)
    member = torch.multinomial(weight, rows, replacement=True, generator=draws.generator)
    index = member.unsqueeze(1).expand(-1, features, -1)
    tells = draws.log_uniform(b, 1, 1, low=0.1, high=2.0) * draws.normal(b, features, 1).exp()
    tells = tells * draws.chance(draws.uniform(b, 1, 1, low=0.2, high=1.0), b, features, 1)
    centre = (draws.normal(b, features, CLUSTERS) * tells).gather(2, index)
    uneven = draws.uniform(b, 1, 1, high=0.7)
    spread = (uneven * draws.normal(b, features, CLUSTERS)).exp().gather(2, index)
    common = draws.normal(b, features, 2) @ draws.normal(b, 2, rows)
    own = draws.normal(b, features, rows) + draws.uniform(b, 1, 1) * common
    favours = draws.normal(b, targets, CLUSTERS)
    own_class = torch.arange(CLUSTERS, device=draws.device) % targets
    favours = favours + 3.0 * (own_class == torch.arange(targets, device=draws.device).view(-1, 1))
    scores = favours.gather(2, member.unsqueeze(1).expand(-1, targets, -1))
    return centre + spread * own, scores
