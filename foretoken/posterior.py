"""The answer to a learning curve: a distribution over its value at every requested step.

Letters: Q steps, K quantile levels, J bars.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.distributions import BarDistribution
from foretoken.normalise import Normaliser

Floats = NDArray[np.float64]
QUANTILES = (0.05, 0.5, 0.95)  # levels that are reported by default
INSIDE = (1e-6, 1 - 1e-6)  # of the model's scale: where an infinite bound is still far away


@dataclass(frozen=True, eq=False)
class Posterior:
    """What a model expects of a curve; all of it is in the caller's own units.

    Args:
        steps: float64 [Q], as requested.
        levels: quantile levels that were asked for, float64 [K].
        logits: of the bars, float32 [Q, J].
        borders: of the bars on the model's scale, float64 [J + 1].
        scale: between the caller's units and the model's.
    """

    steps: Floats
    levels: Floats
    logits: NDArray[np.float32]
    borders: Floats
    scale: Normaliser

    @cached_property
    def mean(self) -> Floats:
        """Expected value at each step, [Q]: of the value itself, not of its transform."""
        return self._summary[0]

    @cached_property
    def quantiles(self) -> Floats:
        """Values at ``levels``, [K, Q]."""
        return self._summary[1]

    def quantile(self, levels: ArrayLike) -> Floats:
        """Values below which the curve lies with each of the probabilities ``levels`` [K]: [K, Q].

        Raises:
            InvalidInput: if a level is not strictly between 0 and 1.
        """
        asked = np.atleast_1d(np.asarray(levels, np.float64))
        return self._value(self._bars.quantile(self.logits, self._below(asked))).T

    def log_prob(self, y: ArrayLike) -> Floats:
        """Log density at the values ``y`` [Q] (or one for all steps), per unit of the caller: [Q].

        Raises:
            InvalidInput: if a value lies outside the bounds, where the density is not defined.
        """
        y = np.asarray(y, np.float64)
        return self._bars.log_prob(self.logits, self.scale.forward(y)) + self.scale.log_slope(y)

    def exceeds(self, t: ArrayLike) -> Floats:
        """Probability that the value at each step is greater than ``t``: [Q]."""
        t = np.broadcast_to(np.asarray(t, np.float64), self.steps.shape)
        low, high = self.scale.bounds
        below = self._bars.cdf(self.logits, self.scale.forward(np.clip(t, low, high)))
        inside = below if self.scale.minimize else 1 - below
        return np.where(t >= high, 0.0, np.where(t < low, 1.0, inside))

    def beats(self, best: ArrayLike) -> Floats:
        """Probability of being better than ``best``, in the metric's direction: [Q]."""
        above = self.exceeds(best)
        return 1 - above if self.scale.minimize else above

    def expected_improvement(self, best: float) -> Floats:
        """E[max(value − best, 0)], or of best − value where lower is better, at each step: [Q]."""

        def gain(u: Floats) -> Floats:
            better = self._value(u) - best
            return np.maximum(-better if self.scale.minimize else better, 0)

        return self._bars.expectation(self.logits, gain)

    @cached_property
    def _summary(self) -> tuple[Floats, Floats]:
        mean, found = self._bars.summary(self.logits, self._value, self._below(self.levels))
        return mean, self._value(found).T

    def _below(self, levels: Floats) -> Floats:
        """Levels on the model's scale, where more is better."""
        return 1 - levels if self.scale.minimize else levels

    def _value(self, u: Floats) -> Floats:
        return self.scale.inverse(np.clip(u, *INSIDE))

    @cached_property
    def _bars(self) -> BarDistribution:
        return BarDistribution(self.borders)
