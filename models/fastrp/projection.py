"""The random projection, column by column: one of them is the same whatever others are drawn.

Each column has a stream of its own, of the counter-based generator Philox under the key (seed,
column), whose raw output NumPy promises never to change. So an embedding that is computed in other
blocks, in another order, or again in years, has the projection that it had.

Letters: N nodes, D dimensions, b columns of a block.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtri

__all__ = ["projected"]

Floats = NDArray[np.float64]

HALF = 1 << 31
RESOLUTION = 2.0**-53  # of a uniform number


def projected(
    kind: str, seed: int, columns: range, dimensions: int, scale: Floats
) -> sparse.csc_array | Floats:
    """Some columns of Rᵀ [N, D], row i of which is scaled by ``scale[i]``: [N, b].

    Args:
        kind: "sparse": ±√(s/D), either with probability 1/2s, else 0, with s = √N (Li, Hastie and
            Church 2006, Very Sparse Random Projections); or "gaussian", N(0, 1/D).
        seed: of the projection.
        columns: which.
        dimensions: D.
        scale: float64 [N].
    """
    N = len(scale)
    if kind == "gaussian":
        drawn = np.empty((N, len(columns)))
        for place, column in enumerate(columns):
            uniform = (_words(seed, column, N) >> np.uint64(11)) + 0.5
            drawn[:, place] = ndtri(uniform * RESOLUTION) * (scale / math.sqrt(dimensions))
        return drawn
    found = [_entries(seed, column, N) for column in columns]
    starts = np.concatenate(([0], np.cumsum([len(rows) for rows, _ in found])))
    rows = np.concatenate([rows for rows, _ in found])
    size = math.sqrt(math.sqrt(N) / dimensions)
    data = np.concatenate([signs for _, signs in found]) * size * scale[rows]
    return sparse.csc_array((data, rows.astype(np.int32), starts), shape=(N, len(columns)))


def _words(seed: int, column: int, count: int) -> NDArray[np.uint64]:
    key: Any = np.array([seed, column], np.uint64)
    words: NDArray[np.uint64] = np.random.Philox(key=key).random_raw(count)
    return words


def _entries(seed: int, column: int, N: int) -> tuple[NDArray[np.intp], Floats]:
    """Rows of a column that are not 0, in order, and their signs."""
    words = _words(seed, column, (N + 1) // 2).astype("<u8", copy=False)
    drawn = words.view("<u4")[:N]  # 32 bits for each row, of which so many mean + and as many −
    each = max(1, round(HALF / math.sqrt(N)))
    rows = np.flatnonzero(drawn < 2 * each)
    return rows, np.where(drawn[rows] < each, 1.0, -1.0)
