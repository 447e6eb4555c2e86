"""FastRP in blocks of columns, so that memory is bounded and no bit depends on the blocks.

A column of the embedding is computed from its own column of the projection. Only ``normalize``
looks at all columns of a node; it takes a pass of its own, which adds up squares column by column.

Letters: N nodes, D dimensions, b columns of a block, q powers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from foretoken.models.fastrp.options import Options
from foretoken.models.fastrp.projection import projected
from foretoken.models.fastrp.walk import Walk

__all__ = ["add_squares", "blocks_of", "filled"]

Floats = NDArray[np.float64]

WORK = 1 << 28  # bytes of what is computed at a time
ARRAYS = 3  # of a block at once: a power, the next one, and their sum
ROWS = 1 << 16  # that are added at a time
NOISE = 64 * np.finfo(np.float64).eps  # spread of a column, per size, that is rounding alone


def blocks_of(nodes: int, dimensions: int, work: int = WORK) -> list[range]:
    """Consecutive columns, as many at a time as ``work`` bytes allow, and at least one."""
    width = max(1, work // (ARRAYS * 8 * nodes))
    blocks = -(-dimensions // width)
    width = -(-dimensions // blocks)
    return [range(i, min(i + width, dimensions)) for i in range(0, dimensions, width)]


def _powers(walk: Walk, options: Options, columns: range) -> Iterator[Floats]:
    """U₁ = M Rᵀ, U₂ = M U₁, ...: some columns of each, [N, b]."""
    R = projected(
        options.projection, options.seed, columns, options.dimensions, walk.scale(options.alpha)
    )
    first = walk.matrix @ R
    U: Floats = first if isinstance(first, np.ndarray) else first.toarray()
    yield U
    for _ in options.weights[1:]:
        U = walk.matrix @ U
        yield U


def add_squares(walk: Walk, options: Options, columns: range, squares: Floats) -> None:
    """Add what some columns contribute to the squared length of each node's part of each power.

    Args:
        walk: on the graph.
        options: of the embedding.
        columns: which; all are to be added in order.
        squares: float64 [q, N], added to.
    """
    for i, U in enumerate(_powers(walk, options, columns)):
        for column in np.ascontiguousarray(U.T) if options.weights[i] else ():
            squares[i] += column * column


def filled(
    walk: Walk, options: Options, columns: range, out: NDArray[np.float32], squares: Floats | None
) -> None:
    """Write some columns of the embedding.

    Each has mean 0 and standard deviation 1 over the nodes that edges leave; others have zeros. A
    column that is the same for all is 0.

    Args:
        walk: on the graph.
        options: of the embedding.
        columns: which.
        out: float32 [N, D].
        squares: of ``add_squares`` over all columns; None unless ``normalize``.
    """
    total = np.zeros((walk.count, len(columns)))
    for i, U in enumerate(_powers(walk, options, columns)):
        if weight := options.weights[i]:
            _add(total, U, weight, None if squares is None else squares[i])
    del U
    by_column = np.ascontiguousarray(total.T)
    del total
    isolated = np.flatnonzero(walk.degrees == 0)
    for column in by_column:
        _standardise(column, isolated)
    out[:, columns.start : columns.stop] = by_column.T


def _add(total: Floats, U: Floats, weight: float, squares: Floats | None) -> None:
    for start in range(0, len(U), ROWS):
        rows = slice(start, start + ROWS)
        part = U[rows]
        if squares is not None:
            lengths = np.sqrt(squares[rows])
            part = part / np.where(lengths > 0, lengths, 1.0)[:, None]
        total[rows] += part * weight


def _standardise(column: Floats, isolated: NDArray[np.intp]) -> None:
    """In place; of zeros at ``isolated``, which stay as they are."""
    count = len(column) - len(isolated)
    size = np.abs(column).max()
    column -= column.sum() / count
    column[isolated] = 0.0
    spread = np.sqrt(np.square(column).sum() / count)
    column /= spread if spread > NOISE * size else np.inf
