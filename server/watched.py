"""A run that is followed while it goes on: what is known of it, and what to ask a model."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import InvalidInput
from foretoken.models.tasks import CurveRequest
from foretoken.normalise import Normaliser
from foretoken.stopping import Advice, Forecast, advise, expect_threshold

__all__ = ["WatchedRun"]

Floats = NDArray[np.float64]


class WatchedRun:
    """One run: its observations so far, the steps to predict, and the value to beat.

    Args:
        at: steps to predict, [Q], strictly increasing; those already passed are left out.
        quantiles: levels of the posteriors, [K].
        minimize: whether lower is better.
        bounds: hard limits of the metric.
        soft_bounds: see ``CurveRequest``.
        best: value to beat; None: there is none, and so no advice.
        threshold: see ``foretoken.stopping.advise``.
        most: observations that it may have.

    Raises:
        InvalidInput: if one of these is not acceptable.
    """

    def __init__(
        self,
        at: Floats,
        quantiles: Floats,
        minimize: bool,
        bounds: tuple[float, float],
        soft_bounds: tuple[float, float] | None,
        best: float | None,
        threshold: float,
        most: int,
    ) -> None:
        if at.size == 0:
            raise InvalidInput("at must name the steps to predict")
        expect_threshold(threshold)
        self._at = at
        self._quantiles = quantiles
        self._minimize = minimize
        self._bounds = bounds
        self._soft_bounds = soft_bounds
        self._threshold = threshold
        self._most = most
        self._best = None if best is None else _finite("best", best)
        self._points = np.empty((2, 16))  # steps and values, with room to grow
        self.observed = 0
        self._refuse_early()

    def observe(self, step: float, value: float, best: float | None = None) -> None:
        """Add an observation, and perhaps a new value to beat.

        Raises:
            InvalidInput: if ``step`` does not lie behind the last, ``value`` is outside the bounds
                or the run is full; the run stays as it was.
        """
        n = self.observed
        if n >= self._most:
            raise InvalidInput(f"a run has at most {self._most} observations (curve_points)")
        _finite("step", step)
        if n and step <= self._points[0, n - 1]:
            raise InvalidInput(
                f"step {step:g} must lie behind the last one, {self._points[0, n - 1]:g}"
            )
        low, high = self._bounds
        if not math.isfinite(value) or not low <= value <= high:
            raise InvalidInput(f"value {value:g} must be finite and within [{low:g}, {high:g}]")
        if best is not None:
            self._best = _finite("best", best)
        if n == self._points.shape[1]:
            self._points = np.concatenate([self._points, np.empty_like(self._points)], axis=1)
        self._points[:, n] = step, value
        self.observed = n + 1

    def request(self) -> CurveRequest | None:
        """What to ask a model now; None before the first observation and when no step remains."""
        if not self.observed:
            return None
        steps, values = self._points[:, : self.observed].copy()
        remaining = self._at[self._at > steps[-1]]
        return self._asked(steps, values, remaining) if remaining.size else None

    def advice(self, forecast: Forecast) -> Advice | None:
        """Whether to stop, given what is expected of the remaining steps; None with none to beat.

        A run that has itself reached the value to beat goes on.
        """
        if self._best is None:
            return None
        found = advise(forecast, self._best, self._threshold)
        values = self._points[1, : self.observed]
        leads = values.min() <= self._best if self._minimize else values.max() >= self._best
        return Advice(stop=found.stop and not leads, chance=found.chance)

    def _asked(self, steps: Floats, values: Floats, at: Floats) -> CurveRequest:
        return CurveRequest(
            values=values,
            steps=steps,
            at=at,
            quantiles=self._quantiles,
            minimize=self._minimize,
            bounds=self._bounds,
            soft_bounds=self._soft_bounds,
        )

    def _refuse_early(self) -> None:
        """Refuse now what every request would be refused for."""
        low, high = self._bounds
        self._asked(self._at[:1], np.array([min(max(0.0, low), high)]), self._at)
        if self._soft_bounds is not None:
            Normaliser(self._minimize, self._bounds, self._soft_bounds)


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise InvalidInput(f"{name} must be finite, not {value}")
    return value
