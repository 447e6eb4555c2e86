"""The bundled model's pipeline, for one table in NumPy; ``views`` says what is done, and why.

Members of the ensemble look at the same table in several ways, numbers standardised or ranked and
categories as indicators or as codes, and each time under other names of the classes. Ranks and
indicators are the best of them alone, so half of the members have both. What a member has learned
are numbers for each encoded column: where it comes from, which category it shows, its mean and
scale, its sign, and the weights of ridge regression.

Letters: N training rows, M test rows, F columns, G numeric columns, E encoded columns (padded to
``COLUMNS``), V ways to look, K members, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from foretoken.models.contract import Array, Arrays
from foretoken.models.tabpfn.columns import Floats, Table
from foretoken.models.tabpfn.encoding import COLUMNS, GAIN, LEVELS, PENALTIES, SCORES, TAIL
from foretoken.models.tabpfn.pipelines import Options

__all__ = ["COLUMNS", "SCORES", "OrderedPipeline"]

FEW = 8  # rows that are counted rather than searched for
ENDS = (5e-5, 1 - 5e-5)  # of ranks in (0, 1)
WAYS = ((True, True), (False, True), (True, False), (True, True))  # (ranked, indicators)
VALUE, GAP = -1, -2  # what an encoded column shows when it is not a category's number


@dataclass(frozen=True)
class _Way:
    """What is learned of a table for one way to look at it, classes apart; all [E]."""

    source: NDArray[np.int64]
    level: NDArray[np.int64]
    mean: Floats
    scale: Floats


class OrderedPipeline:
    """See ``pipelines.Pipeline``."""

    version = 1
    every_column = False
    extra = SCORES
    defaults: Mapping[str, float | str] = MappingProxyType({"temperature": 0.8})

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
        arrays["way"] = np.array([i % len(WAYS) for i in chosen])
        # Turns differ between members that look in the same way, and between neighbours.
        turns = np.array([(i + i // len(WAYS)) % classes for i in chosen])
        arrays["names"] = (place + turns[:, None]) % classes  # [K, C]
        seen = {way: self._encoded(table, arrays, WAYS[way]) for way in set(arrays["way"].tolist())}
        parts = [
            _member(*seen[way], names[labels], classes)
            for way, names in zip(arrays["way"].tolist(), arrays["names"], strict=True)
        ]
        return arrays | {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    def training_rows(self, arrays: Arrays, matrix: Floats, labels: Array) -> NDArray[np.float32]:
        """As any rows, but for scores: those of a row that was left out."""
        rows = self.rows(arrays, matrix)
        C = int(arrays["classes"])
        for member, (names, penalty, weights, centre) in zip(
            rows, _each(arrays, "names", "penalty", "weights", "centre"), strict=True
        ):
            z = member[:, SCORES:].astype(np.float64) - centre[: rows.shape[2] - SCORES]
            target = _centred(names[labels], C)
            fitted = z @ weights[: z.shape[1]]
            member[:, :C] = GAIN * _left_out(z, target, fitted, float(penalty))
        return rows

    def rows(self, arrays: Arrays, matrix: Floats) -> NDArray[np.float32]:
        """See ``Pipeline.rows``; features are the scores, then the widest member's columns."""
        F, E, C = matrix.shape[1], int(arrays["kept"].max()), int(arrays["classes"])
        ranks = np.array([WAYS[way][0] for way in arrays["way"].tolist()])
        # All members at once: those that see ranks take their columns from a second table.
        given = np.concatenate([matrix, _ranked(matrix, arrays)], axis=1) if ranks.any() else matrix
        source = arrays["source"][:, :E] + F * ranks[:, None]
        shown = _shown(given, source.ravel(), arrays["level"][:, :E].ravel())
        shown = shown.reshape(len(matrix), *source.shape)
        z = _squashed((shown - arrays["mean"][:, :E]) / arrays["scale"][:, :E])  # [M, K, E]
        z = z.transpose(1, 0, 2)
        made = np.zeros((len(z), len(matrix), SCORES + E), np.float32)
        made[:, :, SCORES:] = z
        made[:, :, :C] = GAIN * ((z - arrays["centre"][:, None, :E]) @ arrays["weights"][:, :E])
        return made

    def labels(self, arrays: Arrays, labels: Array) -> NDArray[np.int64]:
        """See ``Pipeline.labels``."""
        named: NDArray[np.int64] = arrays["names"][:, labels].astype(np.int64)
        return named

    def probabilities(self, arrays: Arrays, logits: Array) -> tuple[Floats, Floats]:
        """See ``Pipeline.probabilities``; log-probabilities of members are averaged."""
        C = int(arrays["classes"])
        scaled = logits[..., :C].astype(np.float64) / float(arrays["temperature"])
        turned = np.take_along_axis(scaled, arrays["names"][:, None, :], axis=2)
        members = _softmax(turned)
        return _softmax(np.log(np.maximum(members, 1e-30)).mean(axis=0)), members

    @staticmethod
    def _encoded(table: Table, arrays: Arrays, way: tuple[bool, bool]) -> tuple[Floats, _Way]:
        """All encoded columns of the training rows [N, E], not yet in order, and what made them."""
        ranked, indicators = way
        matrix, missing = table.matrix, np.isnan(table.matrix)
        source: list[int] = []
        level: list[int] = []
        for j, categorical in enumerate(table.categorical.tolist()):
            levels = int(np.nanmax(matrix[:, j])) + 1 if categorical else 0
            shows = list(range(levels)) if indicators and 1 < levels <= LEVELS else [VALUE]
            shows += [GAP] if missing[:, j].any() else []
            source += [j] * len(shows)
            level += shows
        given = _ranked(matrix, arrays) if ranked else matrix
        columns, levels_ = np.array(source), np.array(level)
        shown = _shown(given, columns, levels_)
        real = ~np.isnan(shown)
        count = np.maximum(real.sum(axis=0), 1)
        mean = np.where(real, shown, 0.0).sum(axis=0) / count
        variance = (np.where(real, shown - mean, 0.0) ** 2).sum(axis=0) / count
        flat = variance <= 1e-12 * (1 + mean**2)
        scale = np.where(flat, np.inf, np.sqrt(np.where(flat, 1.0, variance)))
        return _squashed((shown - mean) / scale), _Way(columns, levels_, mean, scale)


def _member(z: Floats, way: _Way, named: Array, classes: int) -> dict[str, Array]:
    """What a member learns from encoded columns z [N, E] and the classes' names for it [N]."""
    order, sign = _order(z, named, classes)
    E = len(order)
    z = z[:, order] * sign
    centre = z.mean(axis=0)
    weights, penalty = _ridge(z - centre, _centred(named, classes))

    def padded(values: Array, fill: float = 0) -> Array:
        return np.concatenate([values, np.full((COLUMNS - E, *values.shape[1:]), fill)])

    return {
        "source": padded(way.source[order]).astype(np.int64),
        "level": padded(way.level[order]).astype(np.int64),
        "mean": padded(way.mean[order]),
        "scale": padded(way.scale[order] * sign, np.inf),
        "centre": padded(centre),
        "weights": padded(weights),
        "penalty": np.array(penalty),
        "kept": np.array(E),
    }


def _order(z: Floats, named: Array, classes: int) -> tuple[NDArray[np.intp], Floats]:
    """The columns that tell the classes apart best, and the sign of each."""
    hot = np.eye(classes)[named]
    counts = hot.sum(axis=0)
    means = hot.T @ z / np.maximum(counts, 1)[:, None]  # [C, E]
    total = (z**2).sum(axis=0)
    between = (counts[:, None] * means**2).sum(axis=0)
    share = np.where(total > 0, between / np.maximum(total, 1e-12), -1.0)
    best = np.argsort(-share.round(6), kind="stable")[:COLUMNS]
    return best, np.where(means[0, best] < -1e-6, -1.0, 1.0)


def _ridge(z: Floats, target: Floats) -> tuple[Floats, float]:
    """Weights [E, C] under the penalty of least leave-one-out error, and that penalty."""
    N, E = z.shape
    found: list[tuple[float, float, Floats]] = []
    gram, moment = z.T @ z / N, z.T @ target / N
    for penalty in PENALTIES:
        weights = np.linalg.solve(gram + penalty * np.eye(E), moment)
        out = _left_out(z, target, z @ weights, penalty)
        found.append((float(((out - target) ** 2).sum()), penalty, weights))
    _, penalty, weights = min(found, key=lambda each: each[0])
    return weights, penalty


def _left_out(z: Floats, target: Floats, fitted: Floats, penalty: float) -> Floats:
    """What ridge regression says of each row [N, C] when fitted to all others, in closed form."""
    N, E = z.shape
    inverse = np.linalg.inv(z.T @ z / N + penalty * np.eye(E))
    lever = ((z @ inverse) * z).sum(axis=1, keepdims=True) / N + 1 / N
    left: Floats = target - (target - fitted) / np.maximum(1 - lever, 1e-2)
    return left


def _centred(named: Array, classes: int) -> Floats:
    hot = np.eye(classes)[named]
    centred: Floats = hot - hot.mean(axis=0)
    return centred


def _shown(given: Floats, source: NDArray[np.int64], level: NDArray[np.int64]) -> Floats:
    """Encoded columns [rows, E] before they are standardised, NaN where missing."""
    shown: Floats = given[:, source]
    missing = np.isnan(shown)
    shown = np.where(level >= 0, shown == level, shown)
    shown[missing] = np.nan
    return np.where(level == GAP, missing, shown)


def _ranked(matrix: Floats, arrays: Arrays) -> Floats:
    """Numeric columns as normal quantiles of their ranks among the training rows."""
    ranked, numeric, seen = matrix.copy(), arrays["numeric"], arrays["ranked"]
    low, high = np.empty((2, len(matrix), len(numeric)))
    if len(matrix) <= FEW:
        for i, row in enumerate(matrix[:, numeric]):
            low[i], high[i] = (seen < row).sum(axis=0), (seen <= row).sum(axis=0)
    else:
        for g, j in enumerate(numeric.tolist()):
            low[:, g] = np.searchsorted(seen[:, g], matrix[:, j])
            high[:, g] = np.searchsorted(seen[:, g], matrix[:, j], side="right")
    count = (~np.isnan(seen)).sum(axis=0)
    made = ndtri(np.clip(((low + high) / 2 + 0.5) / (count + 1), *ENDS))
    ranked[:, numeric] = np.where(np.isnan(matrix[:, numeric]), np.nan, made)
    return ranked


def _squashed(z: Floats) -> Floats:
    """Tails grow logarithmically; what is missing becomes 0, the mean."""
    size = np.abs(z)
    tail = np.sign(z) * (TAIL + np.log1p(np.maximum(size - TAIL, 0.0)))
    squashed: Floats = np.nan_to_num(np.where(size > TAIL, tail, z), nan=0.0)
    return squashed


def _softmax(logits: Floats) -> Floats:
    likely = np.exp(logits - logits.max(axis=-1, keepdims=True))
    softmax: Floats = likely / likely.sum(axis=-1, keepdims=True)
    return softmax


def _each(arrays: Arrays, *names: str) -> Iterator[tuple[Array, ...]]:
    """The named arrays of each member in turn."""
    return zip(*(arrays[name] for name in names), strict=True)
