"""What a notebook uses: estimators that answer in the caller's own process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.tasks import CurveRequest
from foretoken.posterior import Posterior
from foretoken.server.app import local_plane
from foretoken.server.settings import load_settings

Floats = NDArray[np.float64]
QUANTILES = (0.05, 0.5, 0.95)
HORIZON = 100  # steps predicted by default, unless twice what was seen is more


class CurveExtrapolator:
    """Extrapolates learning curves, in the caller's own units and direction.

    Args:
        model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
        server: None answers in this process.
        minimize: whether lower is better.
        bounds: hard limits of the metric; either may be infinite.
        soft_bounds: range in which values are told apart best; needed by nothing, and the default
            is taken from the values when a bound is infinite.
        data_dir: of the registry; the default is that of the command line.

    Raises:
        Unsupported: if a server is named, which this release cannot reach.
    """

    def __init__(
        self,
        model: str = "lcpfn",
        server: str | None = None,
        minimize: bool = False,
        bounds: tuple[float, float] = (0.0, 1.0),
        soft_bounds: tuple[float, float] | None = None,
        *,
        data_dir: Path | None = None,
    ) -> None:
        if server is not None:
            raise Unsupported(f"server={server!r}: this release answers in-process; leave it out")
        self.model = model
        self.server = server
        self.minimize = minimize
        self.bounds = bounds
        self.soft_bounds = soft_bounds
        self.data_dir = data_dir

    def extrapolate(
        self,
        y: ArrayLike,
        steps: ArrayLike | None = None,
        at: ArrayLike | None = None,
        quantiles: ArrayLike = QUANTILES,
    ) -> Posterior:
        """Extrapolate one curve.

        Args:
            y: observed values, [N].
            steps: when they were observed, [N], strictly increasing; the default is 1 to N.
            at: steps to predict, [Q], strictly increasing; the default is every step (at the
                spacing of ``steps``) up to 100 steps, or up to twice N if that is more.
            quantiles: levels to report, [K].

        Raises:
            InvalidInput: for anything unusable; the message says what and where.
            NotFound: if there is no such model.
        """
        return self.extrapolate_many([y], None if steps is None else [steps], at, quantiles)[0]

    def extrapolate_many(
        self,
        ys: Sequence[ArrayLike],
        steps: Sequence[ArrayLike] | None = None,
        at: ArrayLike | None = None,
        quantiles: ArrayLike = QUANTILES,
    ) -> list[Posterior]:
        """Extrapolate many curves in shared batches; arguments and errors as ``extrapolate``."""
        if steps is not None and len(steps) != len(ys):
            raise InvalidInput(f"{len(ys)} curves need as many lists of steps, not {len(steps)}")
        requests = [
            self._request(y, None if steps is None else steps[i], at, quantiles)
            for i, y in enumerate(ys)
        ]
        settings = load_settings(data_dir=self.data_dir)
        return local_plane(settings).predict(self.model, requests)

    def _request(
        self, y: ArrayLike, steps: ArrayLike | None, at: ArrayLike | None, quantiles: ArrayLike
    ) -> CurveRequest:
        values = _floats("y", y)
        when = np.arange(1.0, values.size + 1) if steps is None else _floats("steps", steps)
        return CurveRequest(
            values=values,
            steps=when,
            at=following(when) if at is None else _floats("at", at),
            quantiles=_floats("quantiles", quantiles),
            minimize=self.minimize,
            bounds=self.bounds,
            soft_bounds=self.soft_bounds,
        )


def following(steps: Floats) -> Floats:
    """The steps after ``steps`` [N], at their median spacing, up to ``HORIZON`` in all, or 2 N."""
    if steps.size == 0:
        raise InvalidInput("y must hold at least one value")
    spacing = float(np.median(np.diff(steps))) if steps.size > 1 else 1.0
    ahead = max(HORIZON, 2 * steps.size) - steps.size
    after: Floats = steps[-1] + spacing * np.arange(1, ahead + 1)
    return after


def _floats(name: str, given: ArrayLike) -> Floats:
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError) as e:
        raise InvalidInput(f"{name} must be numbers, not {given!r}") from e
    return array.reshape(-1) if array.ndim == 0 else array
