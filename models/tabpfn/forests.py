"""What random forests say of each row, for training: a score for each class, batched in torch.

A tree grows level by level. At each of its nodes some columns and values of the node's own rows are
tried, and the split that leaves the purest halves is kept (Gini). A number is split above or below
a value, halfway to the next, a category above its code or into this one and all others; a missing
value is never above. A tree learns from a bootstrap sample; a training row is scored by the trees
that have not seen it, so that its score means what a test row's means (Breiman 2001).

``forest`` does the same in NumPy for one table; a test holds the two together.

Letters: B tables, N training rows, R rows (training rows first), F columns, C classes, T trees,
K tries at a node, L nodes of a level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from foretoken.models.tabpfn.encoding import LEAF_PRIOR, LEAST_WEIGHT, TREES, TRIES, depth

__all__ = ["forest_scores"]

AT_ONCE = 1 << 27  # tries of training rows that are held at a time

Chance = Callable[..., Tensor]  # uniform numbers in [0, 1) of the given shape


class Splits(NamedTuple):
    """Of nodes [B, T, ...]: a row goes up whose value in the column is in (low, high]."""

    column: Tensor
    low: Tensor
    high: Tensor


def forest_scores(
    x: Tensor,
    categorical: Tensor,
    labels: Tensor,
    classes: int,
    chance: Chance,
    trees: int = TREES,
) -> Tensor:
    """Shares of the classes, less those among the training rows: [B, R, C].

    Args:
        x: [B, R, F] raw values, NaN where missing.
        categorical: [B, F] whether values are codes.
        labels: [B, N] of the training rows, 0..C-1.
        classes: C.
        chance: where all randomness comes from; asked for the same numbers whatever the values.
        trees: T.
    """
    N = labels.shape[1]
    widest = max(N, 2 ** (depth(N) - 1) * classes)  # numbers of a try
    block = max(1, AT_ONCE // (trees * TRIES * widest))
    return torch.cat(
        [
            _scores(x[at], categorical[at], labels[at], classes, chance, trees)
            for at in (slice(i, i + block) for i in range(0, len(x), block))
        ]
    )


def _scores(
    x: Tensor, categorical: Tensor, labels: Tensor, classes: int, chance: Chance, T: int
) -> Tensor:
    B, N = labels.shape
    F, R = x.shape[2], x.shape[1]
    drawn = (chance(B, T, N) * N).long()
    weight = torch.zeros(B, T, N, device=x.device)
    weight.scatter_add_(2, drawn, torch.ones_like(weight))
    columns = x.transpose(1, 2).reshape(B, 1, F * R).expand(B, T, F * R)
    cuts = [c.reshape(B, 1, F * N).expand(B, T, F * N) for c in _cuts(x[:, :N])]
    node = torch.zeros(B, T, R, dtype=torch.int64, device=x.device)
    y = labels[:, None].expand(B, T, N)
    for level in range(depth(N)):
        here = node[:, :, :N]
        tried = _tries(cuts, categorical, here, 2**level, chance)
        splits = _best(columns, R, tried, here, y, weight, classes)
        node = 2 * node + _above(columns, R, splits, node)
    leaf = torch.zeros(B, T, 2 ** depth(N) * classes, device=x.device)
    leaf.scatter_add_(2, node[:, :, :N] * classes + y, weight)
    leaf = leaf.view(B, T, -1, classes)
    share = one_hot(labels, classes).to(x.dtype).mean(1)  # [B, C]
    leaf = leaf + LEAF_PRIOR * share[:, None, None]
    leaf = leaf / leaf.sum(-1, keepdim=True)
    said = leaf.gather(2, node[..., None].expand(-1, -1, -1, classes))  # [B, T, R, C]
    trusted = torch.ones(B, T, R, device=x.device)
    trusted[:, :, :N] = (weight == 0).to(x.dtype)
    count = trusted.sum(1)[..., None]  # [B, R, 1]
    mean = torch.einsum("btrc,btr->brc", said, trusted) / count.clamp_min(1)
    return torch.where(count > 0, mean - share[:, None], 0.0)


def _cuts(x: Tensor) -> tuple[Tensor, Tensor]:
    """Halfway from each value of x [B, N, F] to the next lower and higher one: [B, F, N] each."""
    value = x.transpose(1, 2).contiguous()
    order = value.nan_to_num(nan=torch.inf).sort(-1).values
    edged = pad(pad(order, (1, 0), value=-torch.inf), (0, 1), value=torch.inf)
    lower = edged.gather(-1, torch.searchsorted(order, value))
    higher = edged.gather(-1, torch.searchsorted(order, value, right=True) + 1)
    return (
        _between(lower, value).nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf),
        _between(value, higher).nan_to_num(nan=torch.inf, posinf=torch.inf),
    )


def _between(lower: Tensor, higher: Tensor) -> Tensor:
    """Halfway, but below the higher one, if both are finite."""
    half = lower / 2 + higher / 2
    return torch.where((half >= higher) & half.isfinite(), lower, half)


def _tries(
    cuts: Sequence[Tensor], categorical: Tensor, node: Tensor, L: int, chance: Chance
) -> Splits:
    """Splits [B, T, L * K] beside values that rows of the node itself have."""
    B, T, N = node.shape
    F = categorical.shape[1]
    order = node.argsort(dim=2, stable=True)
    count = torch.zeros(B, T, L, dtype=torch.int64, device=node.device)
    count.scatter_add_(2, node, torch.ones_like(node))
    start = count.cumsum(2) - count
    place = (chance(B, T, L, TRIES) * count[..., None] + start[..., None]).flatten(2)
    row = order.gather(2, place.long().clamp_max(N - 1))
    column = (chance(B, T, L, TRIES) * F).flatten(2).long().clamp_max(F - 1)
    below, above = (each.gather(2, column * N + row) for each in cuts)
    second = chance(B, T, L, TRIES).flatten(2) < 0.5
    coded = categorical[:, None].expand(B, T, F).gather(2, column)
    high = torch.where(second & coded, above, torch.inf)
    return Splits(column, torch.where(second, below, above), high)


def _best(
    columns: Tensor, R: int, tried: Splits, node: Tensor, y: Tensor, weight: Tensor, classes: int
) -> Splits:
    """Of the splits tried at each node the purest, [B, T, L]; one that sends no row up for none."""
    B, T, N = node.shape
    K, L = TRIES, tried.column.shape[2] // TRIES
    at = (node[..., None] * K + torch.arange(K, device=node.device)).flatten(2)  # [B, T, N * K]
    row = torch.arange(N, device=node.device).repeat_interleave(K)
    value = columns.gather(2, tried.column.gather(2, at) * R + row)
    above = (value > tried.low.gather(2, at)) & (value <= tried.high.gather(2, at))
    up = weight.repeat_interleave(K, 2) * above
    high = torch.zeros(B, T, L * K * classes, device=node.device)
    high.scatter_add_(2, at * classes + y.repeat_interleave(K, 2), up)
    whole = torch.zeros(B, T, L * classes, device=node.device)
    whole.scatter_add_(2, node * classes + y, weight)
    high = high.view(B, T, L, K, classes)
    low = whole.view(B, T, L, 1, classes) - high
    halves = torch.stack([low.sum(-1), high.sum(-1)])
    pure = torch.stack([low.square().sum(-1), high.square().sum(-1)]) / halves.clamp_min(1)
    score = torch.where((halves >= LEAST_WEIGHT).all(0), pure[0] + pure[1], -1.0)
    most, best = score.max(-1)
    at = torch.arange(L, device=node.device) * K + best
    column, low, high = (each.gather(2, at) for each in tried)
    return Splits(column, torch.where(most < 0, torch.inf, low), high)


def _above(columns: Tensor, R: int, splits: Splits, node: Tensor) -> Tensor:
    """1 where the split of a row's node sends it up, else 0: [B, T, R]."""
    row = torch.arange(node.shape[2], device=node.device)
    value = columns.gather(2, splits.column.gather(2, node) * R + row)
    above = (value > splits.low.gather(2, node)) & (value <= splits.high.gather(2, node))
    return above.long()
