"""What regression says of each row, for one table in NumPy; ``scores`` says what it is, and why.

Letters: N training rows, M rows, E encoded columns, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import spotrf, strtri

from foretoken.errors import InternalError
from foretoken.models.contract import Array, Arrays
from foretoken.models.tabpfn.columns import Floats
from foretoken.models.tabpfn.encoding import FLOOR, LENGTHS, PENALTIES, SMOOTHINGS

__all__ = ["Kernel", "centred", "kernel_ridge", "left_out", "ridge"]

Singles = NDArray[np.float32]
BLOCK = 1 << 18  # distances at a time: larger arrays go back to the system after each step


def centred(labels: Array, classes: int) -> Floats:
    """Indicators of the classes of rows, less their frequencies: [N, C]."""
    hot = np.eye(classes)[labels]
    target: Floats = hot - hot.mean(axis=0)
    return target


def ridge(z: Floats, target: Floats) -> tuple[Floats, float]:
    """Weights [E, C] under the penalty of least leave-one-out error, and that penalty.

    Args:
        z: [N, E], centred.
        target: [N, C], centred.
    """
    N, E = z.shape
    found: list[tuple[float, float, Floats]] = []
    gram, moment = z.T @ z / N, z.T @ target / N
    for penalty in PENALTIES:
        weights = np.linalg.solve(gram + penalty * np.eye(E), moment)
        out = left_out(z, target, z @ weights, penalty)
        found.append((float(((out - target) ** 2).sum()), penalty, weights))
    _, penalty, weights = min(found, key=lambda each: each[0])
    return weights, penalty


def left_out(z: Floats, target: Floats, fitted: Floats, penalty: float) -> Floats:
    """What ridge regression says of each row [N, C] when fitted to all others, in closed form."""
    N, E = z.shape
    inverse = np.linalg.inv(z.T @ z / N + penalty * np.eye(E))
    lever = ((z @ inverse) * z).sum(axis=1, keepdims=True) / N + 1 / N
    left: Floats = target - (target - fitted) / np.maximum(1 - lever, 1e-2)
    return left


@dataclass(frozen=True)
class Kernel:
    """Kernel ridge regression as fitted: all that further rows are scored with, in float32.

    Args:
        points: [N, E] the training rows where distances are taken.
        sizes: [N] their squared norms.
        relevance: [E] what a column is multiplied by to get there.
        weights: [N, C] of the training rows.
        residual: [N] what a row's weights are multiplied by to get its leave-one-out residuals.
        reach: the kernel's squared length.
    """

    points: Singles
    sizes: Singles
    relevance: Singles
    weights: Singles
    residual: Singles
    reach: Array

    def arrays(self, name: str) -> dict[str, Array]:
        """As arrays of a context, under names that begin with ``name``."""
        return {f"{name}.{field}": np.asarray(value) for field, value in vars(self).items()}

    @classmethod
    def of(cls, arrays: Arrays, name: str) -> Kernel:
        """The inverse of ``arrays``."""
        return cls(**{field: arrays[f"{name}.{field}"] for field in cls.__dataclass_fields__})

    def scores(self, z: Floats) -> Singles:
        """Scores [M, C] of rows z [M, E]."""
        points = z.astype(np.float32) * self.relevance
        sizes = np.einsum("ij,ij->i", points, points)
        made = np.empty((len(z), self.weights.shape[1]), np.float32)
        block = max(1, BLOCK // len(self.points))
        for start in range(0, len(z), block):
            rows = slice(start, start + block)
            apart = _apart(points[rows], sizes[rows], self.points, self.sizes)
            made[rows] = _near(apart, self.reach) @ self.weights
        return made

    def left_out(self, target: Floats) -> Floats:
        """Scores of the training rows [N, C], each by a fit to all others."""
        left: Floats = target - self.weights * self.residual[:, None]
        return left


def kernel_ridge(z: Floats, share: Floats, target: Floats) -> Kernel:
    """The fit of the least leave-one-out error.

    Args:
        z: [N, E].
        share: [E] of the columns' variance that lies between the classes.
        target: [N, C], centred.
    """
    relevance = np.sqrt(np.maximum(share, 0) + FLOOR).astype(np.float32)
    points = z.astype(np.float32) * relevance
    sizes = np.einsum("ij,ij->i", points, points)
    apart = _apart(points, sizes, points, sizes)
    usual = 2 * max(float(np.square(points - points.mean(axis=0)).sum(axis=1).mean()), 1e-12)
    fits = _fits(apart, usual, target.astype(np.float32))
    _, weights, residual, reach = min(fits, key=lambda fit: fit[0])
    return Kernel(points, sizes, relevance, weights, residual, reach)


def _fits(
    apart: Singles, usual: float, target: Singles
) -> Iterator[tuple[float, Singles, Singles, Array]]:
    """Leave-one-out error, weights, ``residual`` and reach for each length and smoothing."""
    N = len(apart)
    for length, smoothing in product(LENGTHS, SMOOTHINGS):
        reach = np.array(length * usual, np.float32)
        near = _near(apart, reach)
        near.flat[:: N + 1] += np.float32(smoothing * N)
        half = _inverse_factor(near)
        weights = half.T @ (half @ target)
        residual = 1 / np.einsum("ij,ij->j", half, half)
        yield float(np.square(weights * residual[:, None]).sum()), weights, residual, reach


def _apart(points: Singles, sizes: Singles, seen: Singles, seen_sizes: Singles) -> Singles:
    """Squared distances [M, N] of points [M, E] to seen [N, E]."""
    apart: Singles = points @ seen.T
    apart *= -2
    apart += sizes[:, None]
    apart += seen_sizes
    return np.maximum(apart, 0, out=apart)


def _near(apart: Singles, reach: Array) -> Singles:
    near: Singles = apart / -np.float32(reach)
    return np.exp(near, out=near)


def _inverse_factor(matrix: Singles) -> Singles:
    """The inverse of the lower Cholesky factor of a positive definite matrix [N, N].

    Raises:
        InternalError: if the matrix is not positive definite.
    """
    factor, wrong = spotrf(matrix, lower=True, clean=True)
    inverse, singular = strtri(factor, lower=True)
    if wrong or singular:
        raise InternalError("kernel ridge regression met a matrix that is not positive definite")
    inverted: Singles = inverse
    return inverted
