"""One nearest neighbour, by Euclid's distance or by dynamic time warping: the usual baselines.

Letters: N series to classify, M to learn from, T steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.series.ts import Labelled

__all__ = ["accuracy", "euclid", "warping"]

Floats = NDArray[np.float64]


def accuracy(distance: Floats, train: Labelled, test: Labelled) -> float:
    """Share of the test series whose nearest training series, by ``distance`` [N, M], is alike."""
    return float((train.label[distance.argmin(1)] == test.label).mean())


def euclid(test: Labelled, train: Labelled) -> Floats:
    """Squared distances [N, M]; the shorter of two series counts as zero where it has ended."""
    T = max(test.values.shape[1], train.values.shape[1])
    a, b = (_padded(part, T).reshape(len(part.label), -1) for part in (test, train))
    squares: Floats = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return squares


def warping(test: Labelled, train: Labelled) -> Floats:
    """Squared distances [N, M] along the best alignment, all dimensions warped together.

    Sakoe and Chiba 1978, without a window; a cell of the table is computed for all pairs at once.
    """
    N, M = len(test.label), len(train.label)
    a, b = test.values.astype(np.float64), train.values.astype(np.float64)
    found = np.full((N, M), np.inf)
    columns = b.shape[1]
    above = np.full((columns + 1, N, M), np.inf)
    above[0] = 0.0
    for i in range(a.shape[1]):
        row = np.full((columns + 1, N, M), np.inf)
        for j in range(columns):
            cost = ((a[:, None, i] - b[None, :, j]) ** 2).sum(-1)
            before = np.minimum(np.minimum(above[j], above[j + 1]), row[j])
            row[j + 1] = cost + before
            ends = (test.length[:, None] == i + 1) & (train.length == j + 1)
            found[ends] = row[j + 1][ends]
        above = row
    return found


def _padded(part: Labelled, steps: int) -> Floats:
    values = part.values.astype(np.float64)
    return np.pad(values, ((0, 0), (0, steps - values.shape[1]), (0, 0)))
