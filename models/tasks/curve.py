"""Learning curves: what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array

__all__ = ["HORIZON", "CurveRequest", "following"]

HORIZON = 100  # points of a curve, seen and predicted, unless twice what was seen is more


def _expect_increasing(what: str, steps: Array) -> None:
    line = steps.ndim == 1 and steps.size > 0
    # Whatever begins at 0 or later, rises and ends before infinity is finite throughout.
    if line and steps[0] >= 0 and steps[-1] < np.inf and (steps[1:] > steps[:-1]).all():
        return
    if steps.ndim != 1 or steps.size == 0 or not np.isfinite(steps).all():
        raise InvalidInput(f"{what} must be a non-empty list of finite numbers")
    if steps[0] < 0:
        raise InvalidInput(f"{what} must not be negative; the first is {steps[0]:g}")
    falls = np.flatnonzero(np.diff(steps) <= 0)
    if falls.size:
        i = int(falls[0]) + 1
        how = "duplicate" if steps[i] == steps[i - 1] else "out of order"
        raise InvalidInput(
            f"{what} must be strictly increasing; entry {i} ({steps[i]:g}) is {how}: "
            "sort them and keep one value per step"
        )


@dataclass(frozen=True)
class CurveRequest:
    """A learning curve seen so far, and where to extrapolate it.

    Args:
        values: observed metric, float64 [N], in the caller's units.
        steps: when each was observed, float64 [N], strictly increasing, in the caller's units.
        at: steps to predict, float64 [Q], strictly increasing; may lie anywhere.
        quantiles: levels in (0, 1) to report, float64 [K].
        minimize: whether lower is better.
        bounds: hard limits of the metric, either may be infinite.
        soft_bounds: range in which values of interest lie; the default is learned from ``values``
            and ``bounds``.
    """

    values: Array
    steps: Array
    at: Array
    quantiles: Array
    minimize: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)
    soft_bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or self.values.shape != self.steps.shape:
            raise InvalidInput(
                f"values {self.values.shape} and steps {self.steps.shape} must be two lists of the "
                "same length"
            )
        _expect_increasing("steps", self.steps)
        _expect_increasing("at", self.at)
        low, high = self.bounds
        least, most = self.values.min(), self.values.max()
        if not (low <= least <= most <= high and -np.inf < least and most < np.inf and low < high):
            self._refuse_values()
        levels = self.quantiles
        if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
            raise InvalidInput(
                f"quantiles must lie strictly between 0 and 1, not {levels.tolist()}"
            )

    def _refuse_values(self) -> NoReturn:
        bad = np.flatnonzero(~np.isfinite(self.values))
        if bad.size:
            raise InvalidInput(
                f"values must be finite; entry {int(bad[0])} is {self.values[bad[0]]}: "
                "drop diverged or missing steps"
            )
        low, high = self.bounds
        if not low < high:
            raise InvalidInput(f"bounds must be (low, high) with low < high, not {self.bounds}")
        i = int(np.flatnonzero((self.values < low) | (self.values > high))[0])
        raise InvalidInput(
            f"value {self.values[i]:g} at step {self.steps[i]:g} lies outside bounds "
            f"[{low:g}, {high:g}]: pass bounds that hold the metric, infinite ones if need be"
        )


def following(steps: Array) -> Array:
    """The steps after ``steps`` [N], at their median spacing, up to ``HORIZON`` in all, or 2 N.

    Raises:
        InvalidInput: if there are none.
    """
    if steps.size == 0:
        raise InvalidInput("y must hold at least one value")
    spacing = float(np.median(np.diff(steps))) if steps.size > 1 else 1.0
    ahead = max(HORIZON, 2 * steps.size) - steps.size
    after: Array = steps[-1] + spacing * np.arange(1, ahead + 1)
    return after
