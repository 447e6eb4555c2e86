"""From target scores to class labels."""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.models.tabpfn.prior.draws import Draws, standardise


def make_classes(
    draws: Draws, scores: Tensor, by_score: Tensor, train_rows: int
) -> tuple[Tensor, Tensor]:
    """Labels [B, R] and the number of classes [B] from scores [B, S, R].

    Where by_score [B] is set, the class is the largest of C scores; elsewhere the first score is
    cut at C - 1 boundaries by rank or value, and half of these classes are unordered. Half of the
    data sets are binary, the others have up to S classes.
    """
    b, s, r = scores.shape
    most = max(2, min(s, train_rows))
    more = (3 + draws.uniform(b).pow(1.5) * (most - 2)).long().clamp_max(most)
    count = torch.where(draws.chance(0.5, b), 2, more).unsqueeze(1)
    noise = draws.log_uniform(b, 1, 1, low=0.02, high=2.0) * draws.chance(0.5, b, 1, 1)
    scores = standardise(scores)
    scores = scores + noise * draws.normal(b, s, r)
    cut = cut_score(draws, scores[:, 0], count, s)
    level = torch.arange(s, device=scores.device)
    prior = draws.normal(b, s) * draws.uniform(b, 1)
    prior = prior.masked_fill(level >= count, -torch.inf)
    largest = (scores + prior.unsqueeze(2)).argmax(1)
    y = torch.where(by_score.unsqueeze(1), largest, cut)
    # In some data sets labels are confused: a row takes the label of any row.
    confused = draws.chance(draws.uniform(b, 1, high=0.3) * draws.chance(0.15, b, 1), b, r)
    y = torch.where(confused, y.gather(1, draws.below(r, b, r)), y)
    y = ensure_two(draws, y, scores[:, 0])
    return dense(y, s)


def cut_score(draws: Draws, score: Tensor, count: Tensor, most: int) -> Tensor:
    """Cut scores [B, R] into count [B, 1] classes."""
    b, r = score.shape
    level = torch.arange(most, device=score.device)
    uneven = draws.uniform(b, 1, high=1.3)
    weight = (draws.normal(b, most) * uneven).exp() * (level < count)
    edge = (weight.cumsum(1) / weight.sum(1, keepdim=True))[:, :-1]
    ordered = score.sort(1).values
    by_rank = ordered.gather(1, (edge * r).long().clamp_max(r - 2))
    by_value = draws.normal(b, most - 1)
    boundary = torch.where(draws.chance(0.75, b, 1), by_rank, by_value)
    boundary = boundary.masked_fill(level[:-1] >= count - 1, torch.inf)
    y = torch.searchsorted(boundary.sort(1).values, score.contiguous())
    key = torch.where(level < count, draws.uniform(b, most), level + 1.0)
    mixed = key.argsort(1).gather(1, y)
    return torch.where(draws.chance(0.5, b, 1), mixed, y)


def ensure_two(draws: Draws, y: Tensor, score: Tensor) -> Tensor:
    """Where all labels [B, R] are equal, split the rows in two by rank of the score [B, R]."""
    b, r = y.shape
    rank = (score + 1e-3 * draws.normal(b, r)).argsort(1).argsort(1)
    half = (rank >= (draws.uniform(b, 1, low=0.2, high=0.8) * r).clamp(1, r - 1)).long()
    single = (y == y[:, :1]).all(1, keepdim=True)
    return torch.where(single, half, y)


def seat_classes(draws: Draws, y: Tensor, most: int, train_rows: int) -> Tensor:
    """An order of rows [B, R] that puts every class of y [B, R] among the first train_rows.

    Data sets in which that holds already keep their order; in the others one row of each class
    changes places with a training row.
    """
    b, r = y.shape
    is_class = y.unsqueeze(1) == torch.arange(most, device=y.device).view(1, -1, 1)
    first = is_class.int().argmax(2)  # a row of each class; row 0 for classes not there
    place = torch.arange(r, device=y.device).expand(b, r)
    key = 1.0 + draws.uniform(b, r)
    present = is_class.any(2)
    seats = torch.where(present, draws.uniform(b, most), 2.5)
    key = key.scatter_reduce(1, first, seats, "amin")
    # The chosen rows come first; then the training rows are shuffled among themselves.
    order = key.argsort(1)
    within = draws.uniform(b, train_rows).argsort(1)
    order = torch.cat([order[:, :train_rows].gather(1, within), order[:, train_rows:]], 1)
    settled = (is_class[:, :, :train_rows].any(2) | ~present).all(1, keepdim=True)
    return torch.where(settled, place, order)


def dense(y: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Labels [B, R] renumbered 0..C-1 without gaps, and C [B]."""
    level = torch.arange(most, device=y.device).view(1, -1, 1)
    present = (y.unsqueeze(1) == level).any(2)
    return (present.cumsum(1) - 1).gather(1, y), present.sum(1)
