"""From a metric in its own units to [0, 1], higher is better, and back; NumPy only.

Adriaensen et al. 2023, appendix: soft bounds, between which most values lie, are mapped linearly
to [−1, 1]; a sigmoid follows, rescaled so that the hard bounds, which may be infinite, become 0
and 1; a metric to be minimised is flipped. Without soft bounds the hard ones, then finite, are
mapped linearly: for an accuracy in [0, 1] that is the identity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.errors import InvalidInput

__all__ = ["Normaliser"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Normaliser:
    """A strictly monotone map of a metric onto [0, 1].

    Args:
        minimize: lower values of the metric are better.
        bounds: hard bounds (low, high); either may be infinite if soft bounds are given.
        soft_bounds: finite (low, high) within the hard ones, or None for a linear map.

    Raises:
        InvalidInput: bounds that are NaN, out of order, not nested, or infinite where they must
            not be; from the methods, values outside the hard bounds or NaN.
    """

    minimize: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)
    soft_bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        low, high = self.bounds
        if math.isnan(low) or math.isnan(high) or not low < high:
            raise InvalidInput(f"bounds are {self.bounds}; need (low, high) with low < high")
        if self.soft_bounds is None:
            if math.isinf(low) or math.isinf(high):
                raise InvalidInput(
                    f"bounds are {self.bounds}; an infinite one needs soft_bounds=(low, high), "
                    "between which most values lie"
                )
            return
        soft_low, soft_high = self.soft_bounds
        if not (math.isfinite(soft_low) and math.isfinite(soft_high) and soft_low < soft_high):
            raise InvalidInput(f"soft_bounds are {self.soft_bounds}; need finite low < high")
        if soft_low < low or soft_high > high:
            raise InvalidInput(
                f"soft_bounds {self.soft_bounds} must lie within the bounds {self.bounds}"
            )

    def forward(self, y: ArrayLike) -> Floats:
        """Metric values, any shape, to [0, 1]."""
        y = np.asarray(y, dtype=np.float64)
        low, high = self.bounds
        if not ((y >= low) & (y <= high)).all():
            bad = y[~((y >= low) & (y <= high))].flat[0]
            raise InvalidInput(f"value {bad} is outside the bounds {self.bounds}")
        first, last = self._ends
        u = (self._squash(y) - first) / (last - first)
        return np.clip(1 - u if self.minimize else u, 0, 1)

    def inverse(self, u: ArrayLike) -> Floats:
        """Normalised values back to the metric; what leaves [0, 1] lands on the hard bound.

        Increasing if the metric is maximised, decreasing if it is minimised, so borders and
        quantiles change their order in the latter case.
        """
        u = np.clip(np.asarray(u, dtype=np.float64), 0, 1)
        first, last = self._ends
        share = 1 - u if self.minimize else u
        s = first + share * (last - first)
        if self.soft_bounds is None:
            return s
        soft_low, soft_high = self.soft_bounds
        with np.errstate(divide="ignore"):  # an infinite bound is the image of 0 or 1
            t = np.log(s / (1 - s))
        y = soft_low + (t + 1) / 2 * (soft_high - soft_low)
        return np.clip(y, *self.bounds)

    def slope(self, y: ArrayLike) -> Floats:
        """|d forward / dy| at y: a density of the metric is that of forward(y) times it."""
        return np.exp(self.log_slope(y))

    def log_slope(self, y: ArrayLike) -> Floats:
        """Logarithm of the slope at y, which keeps its digits far from the soft bounds."""
        y = np.asarray(y, dtype=np.float64)
        first, last = self._ends
        if self.soft_bounds is None:
            return np.full(y.shape, -math.log(last - first))
        soft_low, soft_high = self.soft_bounds
        t = np.abs(2 * (y - soft_low) / (soft_high - soft_low) - 1)
        # The sigmoid's own slope at t, s(1 − s), is even in t.
        out: Floats = -t - 2 * np.log1p(np.exp(-t))
        return out + math.log(2 / (soft_high - soft_low)) - math.log(last - first)

    @property
    def _ends(self) -> tuple[float, float]:
        """What the hard bounds are squashed to."""
        first, last = self._squash(np.array(self.bounds))
        return float(first), float(last)

    def _squash(self, y: Floats) -> Floats:
        if self.soft_bounds is None:
            return y
        soft_low, soft_high = self.soft_bounds
        t = 2 * (y - soft_low) / (soft_high - soft_low) - 1
        out: Floats = 0.5 * (1 + np.tanh(t / 2))  # the sigmoid, without overflow
        return out
