"""Coordinates in which the posterior over the prior's parameters is nearly round.

A curve is linear in six of its ten parameters, ℓ = (A, C₁, B, C₂, C₃, E), given the shape of its
parts and σ. If their prior were Normal(μ₀, Σ₀), then given N noisy values y their posterior would
be Normal(m, P⁻¹) with

    P = XᵀX / σ² + Σ₀⁻¹,    P·m = Xᵀy / σ² + Σ₀⁻¹·μ₀,

where column j of X [N, 6] is the derivative of the curve by ℓⱼ. With the Cholesky factor P = K·Kᵀ,
z = Kᵀ(ℓ − m) is then standard normal whatever the other parameters are. The true prior is not
normal, so z only comes near that, but it takes out the ridges along which changes of shape and of
size cancel, in which samplers otherwise get stuck. Densities change by |dℓ/dz| = 1 / ∏ Kⱼⱼ.

Letters: n points of the sampler, (z, ln α, ln κ, ln δ, ln σ), against parameter vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.curves.paper_prior import INVERSE_LOG, LOG_T, Draw

__all__ = ["Whitening"]

Floats = NDArray[np.float64]

LINEAR = 6
# The curve is 1·C + (−t^−α)·A + (−1/ln(t+1))·B + exp(−κt^δ)·D with C = C₁+C₂+C₃ and D = E − C₃.
COMBINE = np.array(
    [
        [0, 1, 0, 1, 1, 0],  # C
        [1, 0, 0, 0, 0, 0],  # A
        [0, 0, 1, 0, 0, 0],  # B
        [0, 0, 0, 0, -1, 1],  # D
    ],
    np.float64,
)


class _Normal(NamedTuple):
    """m [n, 6] and K [n, 6, 6] of the normal approximation."""

    mean: Floats
    factor: Floats


class Whitening:
    """The map for one observed curve.

    Args:
        observed: its first N values.
        bank: draws of the prior, whose mean and covariance stand for it.
    """

    def __init__(self, observed: Floats, bank: Draw) -> None:
        linear = bank.parameters[:, :LINEAR]
        self._y = observed
        self._log_t = LOG_T[: len(observed)]
        self._inverse_log = INVERSE_LOG[: len(observed)]
        self._precision = np.linalg.inv(np.cov(linear, rowvar=False))
        self._pull = self._precision @ linear.mean(axis=0)

    def parameters(self, points: Floats) -> tuple[Floats, Floats]:
        """Parameter vectors [n, 10] and ln |dℓ/dz| [n] at sampler points [n, 10]."""
        normal = self._normal(points[:, LINEAR:])
        upper = np.swapaxes(normal.factor, 1, 2)
        linear = normal.mean + np.linalg.solve(upper, points[:, :LINEAR, None])[..., 0]
        diagonal = np.diagonal(normal.factor, axis1=1, axis2=2)
        return np.hstack([linear, points[:, LINEAR:]]), -np.log(diagonal).sum(axis=1)

    def points(self, parameters: Floats) -> Floats:
        """The inverse of ``parameters``, [n, 10]."""
        normal = self._normal(parameters[:, LINEAR:])
        off = parameters[:, :LINEAR] - normal.mean
        z = np.einsum("nij,ni->nj", normal.factor, off)
        return np.hstack([z, parameters[:, LINEAR:]])

    def _normal(self, rest: Floats) -> _Normal:
        """The approximation given ln α, ln κ, ln δ and ln σ [n, 4]."""
        log_alpha, log_kappa, log_delta, log_sigma = (rest[:, i : i + 1] for i in range(4))
        basis = np.empty((len(rest), 4, len(self._y)))
        with np.errstate(over="ignore", under="ignore"):
            basis[:, 0] = 1
            basis[:, 1] = -np.exp(-np.exp(log_alpha) * self._log_t)
            basis[:, 2] = -self._inverse_log
            basis[:, 3] = np.exp(-np.exp(log_kappa + np.exp(log_delta) * self._log_t))
            basis *= np.exp(-log_sigma)[..., None]
        gram = basis @ np.swapaxes(basis, 1, 2)
        precision = COMBINE.T @ gram @ COMBINE + self._precision
        scaled = self._y * np.exp(-log_sigma)
        right = (basis @ scaled[..., None])[..., 0] @ COMBINE + self._pull
        factor = np.linalg.cholesky(precision)
        mean = np.linalg.solve(precision, right[..., None])[..., 0]
        return _Normal(mean, factor)
