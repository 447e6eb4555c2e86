"""Labelled tables drawn from the prior.

Letters: B data sets, R rows, F columns, C classes, S target scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foretoken.errors import InvalidInput
from foretoken.models.tabpfn.prior.additive import additive_scores, linear_scores, rule_scores
from foretoken.models.tabpfn.prior.classes import make_classes, seat_classes
from foretoken.models.tabpfn.prior.clusters import cluster_columns
from foretoken.models.tabpfn.prior.columns import make_columns
from foretoken.models.tabpfn.prior.draws import Draws, pick_rows
from foretoken.models.tabpfn.prior.gaussian import factor_columns, gaussian_scores
from foretoken.models.tabpfn.prior.missing import remove_values
from foretoken.models.tabpfn.prior.networks import network_graph, network_scores
from foretoken.models.tabpfn.prior.trees import forest, tree_graph

Source = Callable[[Draws, int, int, int, int], tuple[Tensor, Tensor]]
Function = Callable[[Draws, Tensor, int], Tensor]

SOURCES: tuple[tuple[float, Source], ...] = (
    (0.45, network_graph),
    (0.15, tree_graph),
    (0.28, factor_columns),
    (0.12, cluster_columns),
)
FUNCTIONS: tuple[tuple[float, Function], ...] = (
    (0.15, linear_scores),
    (0.08, additive_scores),
    (0.20, network_scores),
    (0.15, gaussian_scores),
    (0.26, lambda draws, z, s: forest(draws, z, s, 1 + int(draws.host.integers(0, 6)))),
    (0.16, rule_scores),
)
OF_COLUMNS = 0.7  # of the data sets whose source is a graph: the target is a function of columns


@dataclass(frozen=True)
class Tables:
    """A batch of labelled tables.

    Fields:
        x: float [B, R, F] in raw units; NaN is a missing value, a category is its code.
        y: int64 [B, R], classes 0..C-1, all of them present.
        classes: C, int64 [B], at least 2.
        categorical: which columns hold category codes, bool [B, F].
    """

    x: Tensor
    y: Tensor
    classes: Tensor
    categorical: Tensor


def sample(
    batch: int,
    rows: int,
    features: int,
    *,
    train_rows: int,
    max_classes: int = 10,
    device: torch.device | str = "cpu",
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Tables:
    """Draw data sets whose rows are exchangeable; the first train_rows hold every class.

    Args:
        batch: number of data sets.
        rows: rows of each, training and test rows together.
        features: columns of each, some of which may tell nothing.
        train_rows: how many of the rows a model will be given labels of.
        max_classes: most classes of a data set.
        device: where the tables are made.
        generator: the only source of randomness, on the same device.
        dtype: of x.

    Raises:
        InvalidInput: a size is out of range.
    """
    if batch < 1 or features < 1 or not 2 <= train_rows <= rows or max_classes < 2:
        raise InvalidInput(
            f"cannot draw {batch} tables of {rows} rows ({train_rows} for training) by {features} "
            f"columns with up to {max_classes} classes: at least 1 table, 1 column, 2 classes and "
            "2 <= train_rows <= rows are needed"
        )
    draws = Draws.begin(generator, torch.device(device))
    latent, scores, by_score = _sources(draws, batch, rows, features, max_classes)
    columns = make_columns(draws, latent)
    functional = draws.host.random(batch) < OF_COLUMNS
    functional[by_score] = False
    largest = draws.host.random(batch) < np.where(functional, 0.35, 0.12)
    _replace_scores(draws, scores, columns.felt, np.flatnonzero(functional))
    named = torch.from_numpy(largest | by_score).to(draws.device)
    y, classes = make_classes(draws, scores, named, train_rows)
    shown = remove_values(draws, columns.shown)
    order = seat_classes(draws, y, max_classes, train_rows)
    y = y.gather(1, order)
    x = shown.gather(2, order.unsqueeze(1).expand(-1, features, -1))
    x, constant = _no_constants(draws, x, train_rows)
    x = x.transpose(1, 2).contiguous().to(dtype)
    return Tables(x, y, classes, columns.categorical & ~constant)


def _shares(draws: Draws, n: int, weights: list[float]) -> list[np.ndarray]:
    """Indices of n things dealt out at random by weight."""
    kind = draws.host.choice(len(weights), size=n, p=weights)
    return [np.flatnonzero(kind == k) for k in range(len(weights))]


def _sources(
    draws: Draws, batch: int, rows: int, features: int, targets: int
) -> tuple[Tensor, Tensor, np.ndarray]:
    """Latent columns [B, F, R], scores [B, S, R], and whose scores name classes (bool [B])."""
    latent = torch.empty(batch, features, rows, device=draws.device)
    scores = torch.empty(batch, targets, rows, device=draws.device)
    naming = np.zeros(batch, dtype=bool)
    parts = _shares(draws, batch, [w for w, _ in SOURCES])
    for (_, source), part in zip(SOURCES, parts, strict=True):
        if len(part):
            where = draws.indices(part)
            latent[where], scores[where] = source(draws, len(part), rows, features, targets)
            naming[part] = source is cluster_columns
    return latent, scores, naming


def _replace_scores(draws: Draws, scores: Tensor, felt: Tensor, which: np.ndarray) -> None:
    """Let the targets of some data sets be functions of a few of their columns."""
    f = felt.shape[1]
    for (_, function), part in zip(
        FUNCTIONS, _shares(draws, len(which), [w for w, _ in FUNCTIONS]), strict=True
    ):
        if len(part):
            where = draws.indices(which[part])
            k = draws.host.lognormal(2.0, 0.9, len(part)).astype(np.int64).clip(1, f)
            # Slots beyond a data set's own k repeat its columns, so no function needs a mask.
            slot = draws.indices(np.arange(k.max()) % k[:, None])
            used = draws.uniform(len(part), f).argsort(1).gather(1, slot)
            scores[where] = function(draws, pick_rows(felt[where], used), scores.shape[1])


def _no_constants(draws: Draws, x: Tensor, train_rows: int) -> tuple[Tensor, Tensor]:
    """Replace columns of x [B, F, R] that are constant on the training rows by noise."""
    seen = x[:, :, :train_rows]
    low = seen.nan_to_num(nan=torch.inf).amin(2)
    high = seen.nan_to_num(nan=-torch.inf).amax(2)
    constant = ~(high > low)
    return torch.where(constant.unsqueeze(2), draws.normal(*x.shape), x), constant
