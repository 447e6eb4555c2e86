"""Parametric fits to a learning curve by multi-start least squares: what practitioners use.

pow3, pow4 and MMF4 as in the learning-curve literature (Viering and Loog 2022). Steps are scaled to
1..100 and values to the range seen, so that one set of starts serves every metric; the residuals
are soft-L1, which forgives the first evaluations. Letters: N observed points, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Floats = NDArray[np.float64]
STARTS = 8
GRID = 100.0


@dataclass(frozen=True)
class Form:
    """A parametric form with the box [2, P] that its parameters are drawn from and kept in."""

    curve: Callable[[Floats, Floats], Floats]
    box: Floats


def _pow3(t: Floats, p: Floats) -> Floats:
    c, a, alpha = p
    return c - a * t**-alpha


def _pow4(t: Floats, p: Floats) -> Floats:
    c, a, b, alpha = p
    return c - (a * t + b) ** -alpha


def _mmf4(t: Floats, p: Floats) -> Floats:
    end, start, kappa, delta = p
    return end - (end - start) / (1 + (kappa * t) ** delta)


# Values are scaled so that what was seen spans 0 to 1, improving upwards.
FORMS = {
    "pow3": Form(_pow3, np.array([[0, -5, 0.01], [3, 5, 4]])),
    "pow4": Form(_pow4, np.array([[0, 1e-3, 1e-3, 0.01], [3, 10, 10, 4]])),
    "mmf4": Form(_mmf4, np.array([[0, -5, 1e-3, 0.1], [3, 1, 10, 5]])),
}


def fit(
    form: Form, steps: Floats, values: Floats, at: float, *, minimize: bool, seed: int = 0
) -> float:
    """Extrapolate to ``at`` by the best of ``STARTS`` local fits.

    With fewer points than parameters, or values that have not moved, the last value is returned.
    """
    low, high = form.box
    span = float(np.ptp(values))
    if len(values) < len(low) or span == 0:
        return float(values[-1])
    sign = -1.0 if minimize else 1.0
    base = float((sign * values).min())
    y = (sign * values - base) / span
    t = 1 + (GRID - 1) * (steps - steps[0]) / (at - steps[0])
    rng = np.random.default_rng(seed)
    best, found = np.inf, y[-1]
    for start in rng.uniform(low, high, (STARTS, len(low))):
        result = least_squares(
            lambda p: form.curve(t, p) - y, start, bounds=(low, high), loss="soft_l1", max_nfev=100
        )
        end = float(form.curve(np.array([GRID]), result.x)[0])
        if result.cost < best and np.isfinite(end):
            best, found = result.cost, end
    return sign * (found * span + base)
