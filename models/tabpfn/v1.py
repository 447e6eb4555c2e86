"""The first TabPFN's pipeline, in the order and with the quirks of its authors' release.

Hollmann et al. 2022, appendix B, and release 0.1: z-scores clipped at 100, columns without variety
dropped, a Yeo-Johnson transform for every other member, values beyond four deviations squashed by
a logarithm, all scaled by 100 over the number of columns. Members differ by a rotation of classes
and one of columns, which is drawn over all columns although it turns those that are left.

One thing differs. The release leaves a column as it was when its transform warns on any row, test
rows included, so that answers depend on what else is asked. Here training rows alone decide.

Letters: N training rows, M test rows, F columns, K columns kept, E members, C classes, P
transforms (none, power).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import product
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from foretoken.models.contract import Array, Arrays
from foretoken.models.tabpfn.columns import Floats, Table
from foretoken.models.tabpfn.pipelines import Options

__all__ = ["V1Pipeline", "permutation"]

CLIP = 100.0  # of z-scores
SIGMAS = 4.0  # beyond which values are squashed
WIDTH = 100.0  # columns that a table has after scaling, so to speak
NONE, POWER = 0, 1
UNCHANGED = (0.0, 1.0, 0.0, 1.0)  # whether a column is transformed, exponent, mean, scale


class V1Pipeline:
    """See ``pipelines.Pipeline``."""

    version = 1
    every_column = True
    extra = 0
    looks = 0
    features: int | None = None
    defaults: Mapping[str, float | str] = MappingProxyType(
        {"members": 3, "temperature": 0.8, "transform": "mix"}
    )

    def members(self, columns: int, classes: int, options: Options) -> int:
        """As many as there are configurations, at most."""
        return min(options.members, _configurations(columns, classes, options))

    def fit(self, table: Table, labels: Array, classes: int, options: Options) -> dict[str, Array]:
        """See ``Pipeline.fit``."""
        del labels
        F = table.matrix.shape[1]
        chosen = _chosen(F, classes, options)
        with np.errstate(all="ignore"):
            mean, std = _mean_std(table.matrix)
            z = _standardised(table.matrix, mean, std + 1e-6)
            kept = np.flatnonzero([_varied(z[:, j]) for j in range(F)])
            z = z[:, kept]
            wanted = POWER in chosen[:, 2]
            powers = [_power(z[:, j]) if wanted else UNCHANGED for j in range(len(kept))]
            arrays: dict[str, Array] = {
                "kept": kept,
                "mean": mean[kept],
                "std": std[kept] + 1e-6,
                "power": np.array(powers, np.float64).reshape(-1, 4).T.copy(),
                "classes": np.array(classes),
                "temperature": np.array(options.temperature),
                "class_shift": chosen[:, 0],
                "column_shift": chosen[:, 1],
                "transform": chosen[:, 2],
            }
            bounds = [_bounds(z), _bounds(_powered(z, arrays["power"]))]
        return {**arrays, "bounds": np.array(bounds)}  # [P, 2, K]

    def training_rows(self, arrays: Arrays, matrix: Floats, labels: Array) -> NDArray[np.float32]:
        """As any rows."""
        del labels
        return self.rows(arrays, matrix)

    def rows(self, arrays: Arrays, matrix: Floats) -> NDArray[np.float32]:
        """See ``Pipeline.rows``; features are K, at least one."""
        kept, transform = arrays["kept"], arrays["transform"]
        K = len(kept)
        members = np.zeros((len(transform), len(matrix), max(K, 1)), np.float32)
        if not K:
            return members
        with np.errstate(all="ignore"):
            z = _standardised(matrix[:, kept], arrays["mean"], arrays["std"])
            made = {}
            for p in set(transform.tolist()):
                x = _powered(z, arrays["power"]) if p == POWER else z
                x = _squashed(x, *arrays["bounds"][p]) * (WIDTH / K)
                made[p] = np.nan_to_num(x, nan=0.0).astype(np.float32)
        for member, p, shift in zip(
            members, transform.tolist(), arrays["column_shift"].tolist(), strict=True
        ):
            turn = min(shift, K)  # beyond the last column nothing turns
            member[:, : K - turn] = made[p][:, turn:]
            member[:, K - turn :] = made[p][:, :turn]
        return members

    def labels(self, arrays: Arrays, labels: Array) -> NDArray[np.int64]:
        """See ``Pipeline.labels``."""
        shifted: NDArray[np.int64] = labels + arrays["class_shift"][:, None]
        return shifted % int(arrays["classes"])

    def probabilities(self, arrays: Arrays, logits: Array) -> tuple[Floats, Floats]:
        """See ``Pipeline.probabilities``; members are averaged before the softmax."""
        C = int(arrays["classes"])
        back = (np.arange(C) + arrays["class_shift"][:, None]) % C  # [E, C]
        scaled = logits[..., :C].astype(np.float64) / float(arrays["temperature"])
        turned = np.take_along_axis(scaled, back[:, None, :], axis=2)
        return _softmax(turned.mean(axis=0)), _softmax(turned)


def permutation(generator: np.random.RandomState, n: int) -> NDArray[np.int64]:
    """What ``torch.randperm(n)`` draws on a CPU seeded alike, and as much of the generator."""
    order = np.arange(n)
    draws = generator.randint(0, 1 << 32, size=max(n - 1, 0), dtype=np.uint32)
    for i, drawn in enumerate(draws.tolist()):
        j = i + drawn % (n - i)
        order[[i, j]] = order[[j, i]]
    return order


def _configurations(columns: int, classes: int, options: Options) -> int:
    return classes * columns * (2 if options.transform == "mix" else 1)


def _chosen(columns: int, classes: int, options: Options) -> NDArray[np.int64]:
    """Class shift, column shift and transform of each member, [E, 3]."""
    generator = np.random.RandomState(options.seed)  # torch has the same one
    of_columns, of_classes = permutation(generator, columns), permutation(generator, classes)
    shifts = list(product(of_classes.tolist(), of_columns.tolist()))
    random.Random(0).shuffle(shifts)
    transforms = (NONE, POWER) if options.transform == "mix" else (NONE,)
    every = [(*shift, p) for shift, p in product(shifts, transforms)]
    E = min(options.members, len(every))
    return np.array([every[(options.first + i) % len(every)] for i in range(E)], np.int64)


def _mean_std(x: Floats) -> tuple[Floats, Floats]:
    """Of each column [F] without what is missing; NaN where there is too little."""
    real = ~np.isnan(x)
    count = real.sum(axis=0)
    mean = np.where(real, x, 0.0).sum(axis=0) / count
    apart = np.where(real, x - mean, 0.0)
    return mean, np.sqrt((apart**2).sum(axis=0) / (count - 1))


def _standardised(x: Floats, mean: Floats, std: Floats) -> Floats:
    return np.clip((x - mean) / std, -CLIP, CLIP)


def _varied(z: Floats) -> bool:
    """Whether a column holds two values, of which each missing one is another."""
    missing = np.isnan(z)
    return bool(missing.sum() + len(np.unique(z[~missing].astype(np.float32))) > 1)


def _power(z: Floats) -> tuple[float, float, float, float]:
    """Whether the column is transformed, and by which exponent, mean and scale."""
    from sklearn.preprocessing import PowerTransformer  # noqa: PLC0415  (a second to import)

    column = z.astype(np.float32)[:, None]
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        try:
            fitted = PowerTransformer(standardize=True).fit(column)
            fitted.transform(column)
        except (FloatingPointError, ValueError, Warning):
            return UNCHANGED
    scaler = fitted._scaler
    found = (1.0, float(fitted.lambdas_[0]), float(scaler.mean_[0]), float(scaler.scale_[0]))
    return found if np.isfinite(found).all() else UNCHANGED


def _powered(z: Floats, power: Floats) -> Floats:
    """Yeo-Johnson's transform (Yeo and Johnson 2000, equation 2.1), standardised; [rows, K]."""
    used, exponents, mean, scale = power
    exponent = np.where(z >= 0, exponents, 2 - exponents)
    log = np.log1p(np.abs(z))
    straight = np.abs(exponent) < np.finfo(np.float64).eps
    bent = np.where(straight, log, np.expm1(exponent * log) / np.where(straight, 1.0, exponent))
    return np.where(used > 0, (np.copysign(bent, z) - mean) / scale, z)


def _bounds(x: Floats) -> tuple[Floats, Floats]:
    """Four deviations around the mean of what lies within four deviations, [K] each."""
    mean, std = _mean_std(x)
    inside = np.abs(x - mean) <= SIGMAS * std
    mean, std = _mean_std(np.where(inside, x, np.nan))
    return mean - SIGMAS * std, mean + SIGMAS * std


def _squashed(x: Floats, lower: Floats, upper: Floats) -> Floats:
    x = np.maximum(lower - np.log1p(np.abs(x)), x)
    return np.minimum(upper + np.log1p(np.abs(x)), x)


def _softmax(logits: Floats) -> Floats:
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p: Floats = e / e.sum(axis=-1, keepdims=True)
    return p
