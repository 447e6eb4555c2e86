"""What a random forest says of each row, for one table in NumPy; ``forests`` says why.

Neither the order of a table's columns or rows nor the names of its classes change a forest, where
what they hold tells them apart: it is grown on the table in an order of its own.

Letters: N training rows, M rows, F columns, C classes, T trees, K tries at a node, L nodes of a
level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foretoken.models.contract import Array, Arrays
from foretoken.models.tabpfn.columns import Floats
from foretoken.models.tabpfn.encoding import LEAF_PRIOR, LEAST_WEIGHT, TREES, TRIES, depth

__all__ = ["Forest", "forest_of", "grow", "own_order"]

Singles = NDArray[np.float32]
Whole = NDArray[np.int64]
Chance = Callable[..., Singles]  # uniform numbers in [0, 1) of the given shape
BLOCK = 1 << 18  # rows times trees at a time
ROUNDS = 3  # of marking columns and rows
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Splits(NamedTuple):
    """Of nodes [T, ...]: a row goes up whose value in the column is in (low, high]."""

    column: Whole
    low: Floats
    high: Floats

    def of(self, index: Any) -> Splits:
        """Those at an index."""
        return Splits(self.column[index], self.low[index], self.high[index])

    def flat(self) -> Splits:
        """[T, L, K] as [T L, K]."""
        K = self.column.shape[2]
        return Splits(self.column.reshape(-1, K), self.low.reshape(-1, K), self.high.reshape(-1, K))


@dataclass(frozen=True)
class Forest:
    """A forest as grown: all that further rows are scored with.

    Args:
        column: [T, nodes] whose value decides, of the nodes of all levels, the root first.
        low: [T, nodes] a row goes up whose value is above it
        high: [T, nodes] and not above this.
        leaf: [T, leaves, C] shares of the classes, less those of the table.
        unseen: [T, N] 1 for training rows that a tree has not learned from, else 0.
    """

    column: NDArray[np.int32]
    low: Floats
    high: Floats
    leaf: Singles
    unseen: NDArray[np.uint8]

    def arrays(self) -> dict[str, Array]:
        """As arrays of a context."""
        return {f"forest.{field}": value for field, value in vars(self).items()}

    @classmethod
    def of(cls, arrays: Arrays) -> Forest:
        """The inverse of ``arrays``."""
        return cls(**{field: arrays[f"forest.{field}"] for field in cls.__dataclass_fields__})

    def scores(self, matrix: Floats) -> Singles:
        """Scores [M, C] of rows matrix [M, F], NaN where missing."""
        T, M = len(self.leaf), len(matrix)
        made = np.empty((M, self.leaf.shape[2]), np.float32)
        block = max(1, BLOCK // T)
        for start in range(0, M, block):
            made[start : start + block] = self._said(matrix[start : start + block]).mean(axis=0)
        return made

    def left_out(self, matrix: Floats) -> Singles:
        """Scores of the training rows [N, C], each by the trees that have not seen it."""
        said = self._said(matrix) * self.unseen[..., None]
        count = self.unseen.sum(axis=0)[:, None]
        mean: Singles = said.sum(axis=0) / np.maximum(count, 1).astype(np.float32)
        return mean

    def _said(self, matrix: Floats) -> Singles:
        """What each tree says of each row: [T, M, C]."""
        (T, nodes), M = self.column.shape, len(matrix)
        columns, row = np.ascontiguousarray(matrix.T).ravel(), np.arange(M)
        root = nodes * np.arange(T)[:, None]  # of each tree, among the nodes of all
        column, low, high = self.column.ravel(), self.low.ravel(), self.high.ravel()
        node = np.zeros((T, M), np.int64)
        for level in range(nodes.bit_length()):
            here = node + (root + (2**level - 1))
            value = columns.take(column.take(here) * M + row)
            node += node
            node += (value > low.take(here)) & (value <= high.take(here))
        leaves, C = self.leaf.shape[1:]
        node += leaves * np.arange(T)[:, None]
        said: Singles = self.leaf.reshape(-1, C).take(node, axis=0)
        return said


def forest_of(
    matrix: Floats,
    categorical: NDArray[np.bool_],
    labels: Array,
    place: Array,
    chance: np.random.Generator,
) -> Forest:
    """A forest grown on a table in an order of its own, told in the table's.

    Args:
        matrix: [N, F] raw values, NaN where missing.
        categorical: [F] whether values are codes.
        labels: [N], 0..C-1.
        place: [C] of each class by something that does not depend on what it is called.
        chance: where all randomness comes from.
    """
    columns, rows = own_order(matrix, place[labels])

    def uniform(*shape: int) -> Singles:
        return chance.random(shape, np.float32)

    grown = grow(matrix[rows][:, columns], categorical[columns], labels[rows], len(place), uniform)
    unseen = np.empty_like(grown.unseen)
    unseen[:, rows] = grown.unseen
    return replace(grown, column=columns[grown.column].astype(np.int32), unseen=unseen)


def grow(
    matrix: Floats, categorical: NDArray[np.bool_], labels: Array, classes: int, chance: Chance
) -> Forest:
    """Grow a forest.

    Args:
        matrix: [N, F] raw values, NaN where missing.
        categorical: [F] whether values are codes.
        labels: [N], 0..C-1.
        classes: C.
        chance: where all randomness comes from, asked in the order in which ``forests`` asks.
    """
    N, T = len(labels), TREES
    columns, tree = np.ascontiguousarray(matrix.T), np.arange(T)[:, None]
    cuts = _cuts(columns)
    drawn = (chance(T, N) * np.float32(N)).astype(np.int64)
    weight = _counts(drawn + N * tree, T * N).reshape(T, N)
    node = np.zeros((T, N), np.int64)
    levels: list[Splits] = []
    for level in range(depth(N)):
        tried = _tries(cuts, categorical, node, 2**level, chance)
        levels.append(_best(columns, tried, node, labels, weight, classes))
        node = 2 * node + _above(columns, levels[-1].of((tree, node)))
    share = (np.bincount(labels, minlength=classes) / N).astype(np.float32)
    leaves = 2 ** depth(N)
    leaf = _counts((leaves * tree + node) * classes + labels, T * leaves * classes, weight)
    leaf = leaf.reshape(T, leaves, classes) + np.float32(LEAF_PRIOR) * share
    leaf = leaf / leaf.sum(axis=-1, keepdims=True) - share
    column = np.concatenate([each.column for each in levels], axis=1)
    low = np.concatenate([each.low for each in levels], axis=1)
    high = np.concatenate([each.high for each in levels], axis=1)
    return Forest(column.astype(np.int32), low, high, leaf, (weight == 0).astype(np.uint8))


def own_order(matrix: Floats, labels: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """An order of the columns [F] and of the rows [N] that follows from what they hold.

    Of values only the order counts, so that a unit says nothing either. Columns and rows are marked
    by the cells that they have, and cells by their columns and rows, in turn (Weisfeiler and Leman
    1968); what nothing tells apart stays in the table's order.

    Args:
        matrix: [N, F].
        labels: [N] by names that do not depend on what the classes are called.
    """
    ranks = [np.unique(column, return_inverse=True)[1] for column in matrix.T]
    values = np.array(ranks, np.uint64) * _ODD  # [F, N]
    columns, rows = np.zeros(len(values), np.uint64), _mixed(labels.astype(np.uint64))
    for _ in range(ROUNDS):
        cells = _mixed(columns[:, None] + _mixed(values + rows))
        columns, rows = np.add.reduce(cells, axis=1), np.add.reduce(cells, axis=0)
    return np.argsort(columns, kind="stable"), np.lexsort((rows, labels))


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Other numbers for other numbers, without a pattern that sums could show (SplitMix64)."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    made: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return made


def _cuts(columns: Floats) -> Floats:
    """Halfway from each value to the next lower and the next higher one: [2, F, N]."""
    made = np.full((2, *columns.shape), np.inf)
    for (below, above), column in zip(made.transpose(1, 0, 2), columns, strict=True):
        real = ~np.isnan(column)
        values, place = np.unique(column[real], return_inverse=True)
        between = values[:-1] / 2 + values[1:] / 2
        between = np.where(between >= values[1:], values[:-1], between)  # neighbours among floats
        edges = np.concatenate([[-np.inf], between, [np.inf]])
        below[real], above[real] = edges[place], edges[place + 1]
    return made


def _tries(
    cuts: Floats, categorical: NDArray[np.bool_], node: Whole, L: int, chance: Chance
) -> Splits:
    """Splits [T, L, K] beside values that rows of the node itself have."""
    (T, N), F = node.shape, cuts.shape[1]
    order = np.argsort(node, axis=1, kind="stable")
    count = _counts(node + L * np.arange(T)[:, None], T * L).reshape(T, L)
    start = np.cumsum(count, axis=1) - count
    place = chance(T, L, TRIES) * count[..., None] + start[..., None]
    row = order[np.arange(T)[:, None, None], np.minimum(place.astype(np.int64), N - 1)]
    column = np.minimum((chance(T, L, TRIES) * np.float32(F)).astype(np.int64), F - 1)
    below, above = cuts[:, column, row]
    second = chance(T, L, TRIES) < 0.5
    high = np.where(second & categorical[column], above, np.inf)
    return Splits(column, np.where(second, below, above), high)


def _best(
    columns: Floats, tried: Splits, node: Whole, labels: Array, weight: Singles, classes: int
) -> Splits:
    """Of the splits tried at each node the purest, [T, L]; one that sends no row up for none."""
    T, L, K = tried.column.shape
    tree, row = np.nonzero(weight)  # [P] pairs of a tree and a row of its sample
    at, heavy = L * tree + node[tree, row], weight[tree, row]
    own = tried.flat().of(at)  # [P, K]
    value = columns.ravel().take(own.column * columns.shape[1] + row[:, None])
    up = (value > own.low) & (value <= own.high)
    place = (at[:, None] * K + np.arange(K)) * classes + labels[row][:, None]
    upper = _counts(place, T * L * K * classes, heavy[:, None] * up).reshape(T, L, K, classes)
    whole = _counts(at * classes + labels[row], T * L * classes, heavy).reshape(T, L, 1, classes)
    halves = np.stack([whole - upper, upper])  # [2, T, L, K, C]
    size = halves.sum(axis=-1)
    pure = np.square(halves).sum(axis=-1) / np.maximum(size, 1)
    score = np.where((size >= LEAST_WEIGHT).all(axis=0), pure[0] + pure[1], np.float32(-1))
    best = score.argmax(axis=-1).ravel()
    found, most = tried.flat().of((np.arange(T * L), best)), score.max(axis=-1).ravel()
    low = np.where(most < 0, np.inf, found.low)
    return Splits(found.column, low, found.high).of(np.arange(T * L).reshape(T, L))


def _above(columns: Floats, splits: Splits) -> NDArray[np.bool_]:
    """Whether each row goes up at its splits [T, M, ...]."""
    row = np.arange(columns.shape[1])
    value = columns[splits.column, row if splits.column.ndim == 2 else row[:, None]]
    up: NDArray[np.bool_] = (value > splits.low) & (value <= splits.high)
    return up


def _counts(at: Whole, size: int, weight: Singles | None = None) -> Singles:
    """How often each of 0..size-1 stands in ``at``, by weight: [size]."""
    weights = None if weight is None else weight.ravel()
    return np.bincount(at.ravel(), weights, minlength=size).astype(np.float32)
