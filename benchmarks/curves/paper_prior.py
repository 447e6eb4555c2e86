"""The paper's prior over learning curves as a density, in NumPy and float64.

Adriaensen et al. 2023, section 3.2 and table 1: y(t) = Σ w_k f_k(t) + noise with w_k ~ U(0, 1), and

    pow3       c₁ − a₁·t^(−α)                 c₁ ~ U(0, 1.25)  a₁ ~ U(−0.6, 0.6)  ln α ~ N(0, 2)
    ilog2      c₂ − a₂ / ln(t + 1)            c₂ ~ U(0, 1)     a₂ ~ U(−0.5, 0.5)
    Janoschek  a₃ − (a₃ − β)·exp(−κ·t^δ)      a₃ ~ U(0, 1)     β ~ U(0, 2)
                                              ln κ ~ N(−2, 1)  ln δ ~ N(0, 0.5)

(normals by mean and standard deviation), ln σ ~ N(−4, 1), curves that leave [0, 1] or end no higher
than they begin refused.

Written so, thirteen parameters bend into each other: only products such as w₁·a₁ reach the curve.
The products themselves, A = w₁a₁, C₁ = w₁c₁, B = w₂a₂, C₂ = w₂c₂, C₃ = w₃a₃ and E = w₃β, enter it
linearly, and the weights can be integrated out of the prior exactly. For the first component,

    p(A, C₁) = ∫ 1/(1.2 w) · 1/(1.25 w) dw over w from m₁ to 1 = (1/m₁ − 1) / 1.5,
    m₁ = max(|A| / 0.6, C₁ / 1.25),

and likewise (1/m₂ − 1) with m₂ = max(2|B|, C₂), and (1/m₃ − 1)/2 with m₃ = max(C₃, E/2). The ten
parameters left have the same posterior over curves, on which samplers mix several times better.

Letters: n parameter vectors, T = 100 steps. A parameter vector is
(A, C₁, B, C₂, C₃, E, ln α, ln κ, ln δ, ln σ).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["PARAMETERS", "STEPS", "Draw", "clean_curves", "draw", "log_density", "valid"]

Floats = NDArray[np.float64]

STEPS = 100
PARAMETERS = ("A", "C1", "B", "C2", "C3", "E", "ln alpha", "ln kappa", "ln delta", "ln sigma")
LOW = np.array([0, -0.6, 0, 0, -0.5, 0, 0, 0, 0])  # of w₁ a₁ c₁ w₂ a₂ c₂ w₃ a₃ β
HIGH = np.array([1, 0.6, 1.25, 1, 0.5, 1, 1, 1, 2])
MEAN = np.array([0.0, -2.0, 0.0, -4.0])  # of the four logarithms
STD = np.array([2.0, 1.0, 0.5, 1.0])
LOG_T = np.log(np.arange(1, STEPS + 1))
INVERSE_LOG = 1 / np.log(np.arange(1, STEPS + 1) + 1)


class Draw(NamedTuple):
    """Accepted draws: parameters [n, 10], the curves without noise and with it, both [n, T]."""

    parameters: Floats
    clean: Floats
    noisy: Floats


def clean_curves(p: Floats) -> Floats:
    """Values at steps 1 to T without noise, [n, T]."""
    A, C1, B, C2, C3, E, log_alpha, log_kappa, log_delta = (p[:, i : i + 1] for i in range(9))
    with np.errstate(over="ignore", under="ignore"):  # exp of far-off rates: 0 and inf are right
        y: Floats = np.exp(-np.exp(log_alpha) * LOG_T)
        y *= -A
        decay = np.exp(log_delta) * LOG_T
        decay += log_kappa
        np.exp(decay, out=decay)
        np.negative(decay, out=decay)
        np.exp(decay, out=decay)
        decay *= C3 - E
        y -= decay
        y -= B * INVERSE_LOG
        y += C1 + C2 + C3
    return y


def valid(y: Floats) -> NDArray[np.bool_]:
    """Whether the prior accepts curves [n, T]: within [0, 1], and higher at the end; [n]."""
    ok: NDArray[np.bool_] = (y[:, -1] > y[:, 0]) & (y.min(axis=1) >= 0) & (y.max(axis=1) <= 1)
    return ok


def log_density(p: Floats) -> Floats:
    """Log prior density of parameters up to a constant, before curves are refused, [n]."""
    A, C1, B, C2, C3, E = p[:, :6].T
    m1 = np.maximum(np.abs(A) / 0.6, C1 / 1.25)
    m2 = np.maximum(2 * np.abs(B), C2)
    m3 = np.maximum(C3, E / 2)
    inside = np.minimum(np.minimum(C1, C2), np.minimum(C3, E)) > 0
    inside &= np.maximum(np.maximum(m1, m2), m3) < 1
    z = (p[:, 6:] - MEAN) / STD
    out = np.full(len(p), -np.inf)
    m1, m2, m3 = m1[inside], m2[inside], m3[inside]
    out[inside] = np.log((1 / m1 - 1) * (1 / m2 - 1) * (1 / m3 - 1))
    out[inside] -= 0.5 * np.square(z[inside]).sum(axis=1)
    return out


def draw(n: int, rng: np.random.Generator) -> Draw:
    """Draw n accepted curves, by rejection."""
    parts: list[tuple[Floats, Floats]] = []
    while sum(len(part) for part, _ in parts) < n:
        u = LOW + (HIGH - LOW) * rng.random((20_000, 9))
        w1, a1, c1, w2, a2, c2, w3, a3, beta = u.T
        linear = np.column_stack([w1 * a1, w1 * c1, w2 * a2, w2 * c2, w3 * a3, w3 * beta])
        p = np.hstack([linear, MEAN + STD * rng.standard_normal((len(u), 4))])
        y = clean_curves(p)
        kept = valid(y)
        parts.append((p[kept], y[kept]))
    p, y = (np.concatenate(column)[:n] for column in zip(*parts, strict=True))
    return Draw(p, y, y + np.exp(p[:, -1:]) * rng.standard_normal(y.shape))
