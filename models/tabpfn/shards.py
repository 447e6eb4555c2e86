"""Which rows and columns each member of an ensemble learns from.

A table within the model's limits is one shard, shown to all members. Of a larger one each member
gets a shard of its own: random rows, of each class in proportion but at least one, and random
columns.

Letters: N rows, F columns, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.tabpfn.pipelines import Options

__all__ = ["Limits", "Shard", "shards"]


@dataclass(frozen=True)
class Limits:
    """Most rows, columns and classes that the model takes."""

    rows: int
    columns: int
    classes: int

    def parts(self, rows: int, columns: int, options: Options) -> bool:
        """Whether a table of that size has to be taken in parts.

        Raises:
            InvalidInput: it is too large and the options say to refuse such.
        """
        many = [f"{rows} rows to learn from (limit {self.rows})"] * (rows > self.rows)
        many += [f"{columns} columns (limit {self.columns})"] * (columns > self.columns)
        if many and options.limit == "refuse":
            raise InvalidInput(
                f"the table has {' and '.join(many)}: leave some out, or pass "
                "limit='subsample' (--limit subsample) to show each ensemble member a random part"
            )
        return bool(many)


@dataclass(frozen=True)
class Shard:
    """Rows [n] and columns [f] of a table, by index, and the members that learn from them."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    options: Options


def shards(labels: Array, columns: int, limits: Limits, options: Options) -> list[Shard]:
    """The shards of a table with ``labels`` [N] int64.

    Raises:
        InvalidInput: see ``Limits.parts``.
    """
    N = len(labels)
    if not limits.parts(N, columns, options):
        return [Shard(np.arange(N), np.arange(columns), options)]
    made = []
    for i in range(options.members):
        rng = np.random.default_rng([options.seed, i])
        rows = _stratified(labels, min(N, limits.rows), rng)
        some = np.sort(rng.permutation(columns)[: limits.columns])
        made.append(Shard(rows, some, replace(options, members=1, first=i)))
    return made


def _stratified(labels: Array, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices of n rows, sorted, with every class in proportion (largest remainder) but present."""
    counts = np.bincount(labels)
    quota = counts * (n / len(labels))
    share = np.maximum(np.floor(quota), 1).astype(np.int64)
    while share.sum() < n:
        share[np.argmax(np.where(share < counts, quota - share, -np.inf))] += 1
    while share.sum() > n:
        share[np.argmax(np.where(share > 1, share - quota, -np.inf))] -= 1
    taken = [rng.permutation(np.flatnonzero(labels == c))[:k] for c, k in enumerate(share.tolist())]
    return np.sort(np.concatenate(taken))
