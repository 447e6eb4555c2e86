"""Columns of one table as the members of an ensemble see them, in NumPy; see ``views``.

Letters: N training rows, M rows, F columns, G numeric columns, E encoded columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from foretoken.models.contract import Arrays
from foretoken.models.tabpfn.columns import Floats, Table
from foretoken.models.tabpfn.encoding import LEVELS, TAIL

__all__ = ["Encoding", "encoded", "ranks", "shown", "standardised"]

LEAST, MOST = 5e-5, 1 - 5e-5  # of ranks in (0, 1)
VALUE, GAP = -1, -2  # what an encoded column shows when it is not a category's number


@dataclass(frozen=True)
class Encoding:
    """What is learned of a table for one way to look at it, classes apart; all [E]."""

    source: NDArray[np.int64]
    level: NDArray[np.int64]
    mean: Floats
    scale: Floats


def encoded(table: Table, arrays: Arrays, way: tuple[bool, bool]) -> tuple[Floats, Encoding]:
    """All encoded columns of the training rows [N, E], not yet in order, and what made them.

    Args:
        table: the training rows.
        arrays: ``numeric`` and ``ranked``, see ``ranks``.
        way: to look at it: whether numbers are ranked, and whether categories become indicators.
    """
    ranked, indicators = way
    matrix, missing = table.matrix, np.isnan(table.matrix)
    source: list[int] = []
    level: list[int] = []
    for j, categorical in enumerate(table.categorical.tolist()):
        levels = int(np.nanmax(matrix[:, j], initial=-1)) + 1 if categorical else 0
        shows = list(range(levels)) if indicators and 1 < levels <= LEVELS else [VALUE]
        shows += [GAP] if missing[:, j].any() else []
        source += [j] * len(shows)
        level += shows
    given = ranks(matrix, arrays) if ranked else matrix
    columns, parts = np.array(source), np.array(level)
    values = shown(given, columns, parts)
    real = ~np.isnan(values)
    count = np.maximum(real.sum(axis=0), 1)
    mean = np.where(real, values, 0.0).sum(axis=0) / count
    with np.errstate(over="ignore"):  # a column of such values is left to those that see ranks
        variance = (np.where(real, values - mean, 0.0) ** 2).sum(axis=0) / count
    flat = variance <= 1e-12 * mean**2
    scale = np.where(flat, np.inf, np.sqrt(np.where(flat, 1.0, variance)))
    return standardised(values, mean, scale), Encoding(columns, parts, mean, scale)


def shown(given: Floats, source: NDArray[np.int64], level: NDArray[np.int64]) -> Floats:
    """Encoded columns [rows, E] before they are standardised, NaN where missing."""
    values: Floats = given[:, source]
    if (level == VALUE).all():
        return values
    missing = np.isnan(values)
    values = np.where(level >= 0, values == level, values)
    values[missing] = np.nan
    return np.where(level == GAP, missing, values)


def ranks(matrix: Floats, arrays: Arrays) -> Floats:
    """Numeric columns as normal quantiles of their ranks among the training rows."""
    ranked, numeric, seen = matrix.copy(), arrays["numeric"], arrays["ranked"]
    given = matrix[:, numeric]
    # Of each column the values below a row's, and those up to it; a search reads them in order.
    below, upto = np.empty((2, *given.shape))
    for g, (column, values) in enumerate(zip(seen.T.copy(), given.T, strict=True)):
        below[:, g] = column.searchsorted(values)
        upto[:, g] = column.searchsorted(values, "right")
    count = len(seen) - np.isnan(seen).sum(axis=0)
    made = ndtri(np.minimum(np.maximum(((below + upto) / 2 + 0.5) / (count + 1), LEAST), MOST))
    made[np.isnan(given)] = np.nan
    ranked[:, numeric] = made
    return ranked


def standardised(values: Floats, mean: Floats, scale: Floats) -> Floats:
    """Values in standard deviations, the tails squashed; what is missing becomes 0, the mean.

    Any finite value gives a finite one.
    """
    with np.errstate(over="ignore"):
        z = (values - mean) / scale
    size = np.minimum(np.abs(z), np.finfo(np.float64).max)
    tail = np.copysign(TAIL + np.log1p(np.maximum(size - TAIL, 0.0)), z)
    found: Floats = np.where(size > TAIL, tail, z)
    found[np.isnan(found)] = 0.0
    return found
