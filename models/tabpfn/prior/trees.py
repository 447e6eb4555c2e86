"""Random oblivious trees: graphs of them, and sums of them as functions of columns.

Every level of an oblivious tree asks one question of all rows, so that a leaf's number is a few
comparisons and its value one gather.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.models.tabpfn.prior.causes import causes
from foretoken.models.tabpfn.prior.draws import Draws, pick_rows, standardise
from foretoken.models.tabpfn.prior.networks import choose_nodes

DEPTH = 4


def forest(draws: Draws, z: Tensor, outputs: int, trees: int) -> Tensor:
    """Sums [B, outputs, R] of `trees` random trees each over columns z [B, F, R].

    A level splits at the value of a random row; each tree uses 1 to 4 levels, fewer more often
    in some data sets (stumps make an additive function).
    """
    b, f, r = z.shape
    n = outputs * trees
    column = (draws.uniform(b, n, DEPTH) * f).long().clamp_max(f - 1)
    values = pick_rows(z, column)
    threshold = values.gather(3, draws.below(r, b, n, DEPTH, 1))
    deep = draws.below(DEPTH, b, 1, 1)
    used = torch.arange(DEPTH, device=z.device) <= deep
    weight = (2 ** torch.arange(DEPTH, device=z.device)) * used
    leaf = torch.zeros(b, n, r, dtype=torch.int64, device=z.device)
    for level in range(DEPTH):
        above = values[:, :, level] > threshold[:, :, level]
        leaf = torch.add(leaf, above * weight[..., level : level + 1])
    table = draws.normal(b, n, 2**DEPTH)
    return table.gather(2, leaf).view(b, outputs, trees, r).sum(2)


def tree_graph(
    draws: Draws, batch: int, rows: int, features: int, targets: int
) -> tuple[Tensor, Tensor]:
    """Sample columns [B, F, R] and target scores [B, S, R] from a graph of noisy trees."""
    n = -(-(features + targets + 2) // 2)  # two layers of trees hold every column
    roots = max(2, min(int(draws.host.gamma(1.5, 4.0)), n))
    x = standardise(causes(draws, batch, roots, rows))
    noise = draws.log_uniform(batch, 1, 1, low=0.002, high=0.5)
    state = [x]
    for _ in range(2):
        x = forest(draws, torch.cat(state, 1), n, 1 + int(draws.host.integers(0, 2)))
        x = standardise(x) + noise * draws.normal(batch, n, rows)
        state.append(x)
    nodes = torch.cat(state, 1)
    sizes = torch.full((batch, 1), nodes.shape[1], device=draws.device)
    chosen = pick_rows(nodes, choose_nodes(draws, nodes, sizes, features, targets))
    return chosen[:, targets:], chosen[:, :targets]
