"""The bundled model's pipeline, for one table in NumPy; ``views`` says what is done, and why.

Members of the ensemble look at the same table in several ways, numbers standardised or ranked and
categories as indicators or as codes, and each time under other names of the classes. Ranks and
indicators are the best of them alone, so half of the members have both. What a member has learned
are numbers for each encoded column (where it comes from, which category it shows, its mean and
scale, its sign) and the weights of ridge regression; members that look in the same way share one
kernel ridge regression, since neither signs nor names mean anything to distances. All members share
one forest, which looks at the table as it came.

Letters: N training rows, M test rows, F columns, G numeric columns, E encoded columns (padded to
``COLUMNS``), V ways to look, K members, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from foretoken.models.contract import Array, Arrays
from foretoken.models.tabpfn.columns import Floats, Table
from foretoken.models.tabpfn.encoding import CLASSES, COLUMNS, GAIN, SCORES, TREES
from foretoken.models.tabpfn.forest import Forest, forest_of
from foretoken.models.tabpfn.pipelines import Options
from foretoken.models.tabpfn.regression import Kernel, centred, kernel_ridge, left_out, ridge
from foretoken.models.tabpfn.ways import Encoding, encoded, ranks, shown, standardised

__all__ = ["COLUMNS", "SCORES", "OrderedPipeline"]

FOREST = 1  # what tells its random numbers from those that chose a part of a table
WAYS = ((True, True), (False, True), (True, False), (True, True))  # (ranked, indicators)


class OrderedPipeline:
    """See ``pipelines.Pipeline``."""

    version = 3
    every_column = False
    extra = SCORES
    looks = TREES
    features: int | None = SCORES + COLUMNS
    defaults: Mapping[str, float | str] = MappingProxyType({"temperature": 0.9})

    def members(self, columns: int, classes: int, options: Options) -> int:
        """At most one for each way to look and each turn of the classes."""
        del columns
        return min(options.members, len(WAYS) * classes)

    def fit(self, table: Table, labels: Array, classes: int, options: Options) -> dict[str, Array]:
        """See ``Pipeline.fit``."""
        numeric = np.flatnonzero(~table.categorical)
        arrays: dict[str, Array] = {
            "numeric": numeric,
            "ranked": np.sort(table.matrix[:, numeric], axis=0),  # NaN last
            "classes": np.array(classes),
            "temperature": np.array(options.temperature),
        }
        counts = np.bincount(labels, minlength=classes)
        place = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")
        chosen = [options.first + i for i in range(self.members(0, classes, options))]
        # The same way stands there twice, and is known by its first place.
        ways = [WAYS.index(WAYS[i % len(WAYS)]) for i in chosen]
        arrays["way"] = np.array(ways)
        # Turns differ between members that look in the same way, and between neighbours.
        turns = np.array([(i + i // len(WAYS)) % classes for i in chosen])
        arrays["names"] = (place + turns[:, None]) % classes  # [K, C]
        chance = np.random.default_rng([options.seed, options.first, FOREST])
        arrays |= forest_of(table.matrix, table.categorical, labels, place, chance).arrays()
        seen = {way: encoded(table, arrays, WAYS[way]) for way in set(ways)}
        parts = []
        for way, names in zip(ways, arrays["names"], strict=True):
            z, share, part = _member(*seen[way], names[labels], classes)
            if f"{way}.points" not in arrays:
                arrays |= kernel_ridge(z, share, centred(labels, classes)).arrays(str(way))
            parts.append(part)
        return arrays | {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    def training_rows(self, arrays: Arrays, matrix: Floats, labels: Array) -> NDArray[np.float32]:
        """As any rows, but for scores: those of a row that was left out."""
        z = self._columns(arrays, matrix)
        E, C = z.shape[2], int(arrays["classes"])
        seen, linear = z - arrays["centre"][:, None, :E], []
        fitted = seen @ arrays["weights"][:, :E]
        for i, penalty in enumerate(arrays["penalty"].tolist()):
            target = centred(arrays["names"][i][labels], C)
            linear.append(left_out(seen[i], target, fitted[i], penalty))
        target = centred(labels, C)
        near = {way: Kernel.of(arrays, str(way)).left_out(target) for way in _firsts(arrays)}
        forest = Forest.of(arrays).left_out(matrix)
        return _features(z, np.array(linear), near, forest, arrays)

    def rows(self, arrays: Arrays, matrix: Floats) -> NDArray[np.float32]:
        """See ``Pipeline.rows``; features are the scores, then the widest member's columns."""
        z = self._columns(arrays, matrix)
        E = z.shape[2]
        linear = (z - arrays["centre"][:, None, :E]) @ arrays["weights"][:, :E]
        near = {}
        for way, first in _firsts(arrays).items():
            kernel = Kernel.of(arrays, str(way))
            near[way] = kernel.scores(z[first, :, : len(kernel.relevance)])
        return _features(z, linear, near, Forest.of(arrays).scores(matrix), arrays)

    def labels(self, arrays: Arrays, labels: Array) -> NDArray[np.int64]:
        """See ``Pipeline.labels``."""
        named: NDArray[np.int64] = arrays["names"][:, labels].astype(np.int64)
        return named

    def probabilities(self, arrays: Arrays, logits: Array) -> tuple[Floats, Floats]:
        """See ``Pipeline.probabilities``; log-probabilities of members are averaged."""
        C = int(arrays["classes"])
        scaled = logits[..., :C].astype(np.float64) / float(arrays["temperature"])
        names = arrays["names"]
        turned = scaled[np.arange(len(names))[:, None], :, names]  # [K, C, M]
        members = _softmax(turned.transpose(0, 2, 1))
        logs = np.log(np.maximum(members, 1e-30))
        return _softmax(np.add.reduce(logs) / len(logs)), members

    @staticmethod
    def _columns(arrays: Arrays, matrix: Floats) -> Floats:
        """What each member sees of rows, without scores: [K, M, E]."""
        F, E = matrix.shape[1], int(arrays["kept"].max())
        ranked = np.array([WAYS[way][0] for way in arrays["way"].tolist()])
        # All members at once: those that see ranks take their columns from a second table.
        given = np.concatenate([matrix, ranks(matrix, arrays)], axis=1) if ranked.any() else matrix
        source = arrays["source"][:, :E] + F * ranked[:, None]
        values = shown(given, source.ravel(), arrays["level"][:, :E].ravel())
        values = values.reshape(len(matrix), *source.shape)
        z = standardised(values, arrays["mean"][:, :E], arrays["scale"][:, :E])  # [M, K, E]
        return z.transpose(1, 0, 2)


def _features(
    z: Floats, linear: Array, near: Mapping[int, Array], forest: Array, arrays: Arrays
) -> NDArray[np.float32]:
    """Scores by the members' own names of classes, then columns: [K, M, SCORES + E].

    Args:
        z: [K, M, E].
        linear: [K, M, C] by the members' names of the classes.
        near: for each way [M, C] by the classes' own numbers.
        forest: [M, C] likewise.
        arrays: of the fit.
    """
    K, M, E = z.shape
    made = np.zeros((K, M, SCORES + E), np.float32)
    made[:, :, : linear.shape[2]] = GAIN * linear
    for member, way, names in zip(made, arrays["way"], arrays["names"], strict=True):
        member[:, CLASSES + names] = GAIN * near[int(way)]
        member[:, 2 * CLASSES + names] = GAIN * forest
    made[:, :, SCORES:] = z
    return made


def _firsts(arrays: Arrays) -> dict[int, int]:
    """The first member that looks in each way, whose signs and order of columns its kernel has."""
    ways: list[int] = arrays["way"].tolist()
    return {way: ways.index(way) for way in ways}


def _member(
    z: Floats, encoding: Encoding, named: Array, classes: int
) -> tuple[Floats, Floats, dict[str, Array]]:
    """What a member learns from encoded columns z [N, E] and the classes' names for it [N].

    Before that its columns in order, and the share of each one's variance between the classes.
    """
    order, sign, share = _order(z, named, classes)
    E = len(order)
    z = z[:, order] * sign
    centre = z.mean(axis=0)
    weights, penalty = ridge(z - centre, centred(named, classes))

    def padded(values: Array, fill: float = 0) -> Array:
        return np.concatenate([values, np.full((COLUMNS - E, *values.shape[1:]), fill)])

    learned: dict[str, Array] = {
        "source": padded(encoding.source[order]).astype(np.int64),
        "level": padded(encoding.level[order]).astype(np.int64),
        "mean": padded(encoding.mean[order]),
        "scale": padded(encoding.scale[order] * sign, np.inf),
        "centre": padded(centre),
        "weights": padded(weights),
        "penalty": np.array(penalty),
        "kept": np.array(E),
    }
    return z, share, learned


def _order(z: Floats, named: Array, classes: int) -> tuple[NDArray[np.intp], Floats, Floats]:
    """The columns that tell the classes apart best, the sign of each, and how well each does."""
    hot = np.eye(classes)[named]
    counts = hot.sum(axis=0)
    means = hot.T @ z / np.maximum(counts, 1)[:, None]  # [C, E]
    total = (z**2).sum(axis=0)
    between = (counts[:, None] * means**2).sum(axis=0)
    share = np.where(total > 0, between / np.maximum(total, 1e-12), -1.0)
    best = np.argsort(-share.round(6), kind="stable")[:COLUMNS]
    return best, np.where(means[0, best] < -1e-6, -1.0, 1.0), share[best]


def _softmax(logits: Floats) -> Floats:
    likely = np.exp(logits - logits.max(axis=-1, keepdims=True))
    softmax: Floats = likely / likely.sum(axis=-1, keepdims=True)
    return softmax
