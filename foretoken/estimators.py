"""What a notebook uses: estimators that answer in the caller's own process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.tasks import CurveRequest
from foretoken.posterior import Posterior
from foretoken.server.app import local_plane
from foretoken.server.settings import load_settings
from foretoken.stopping import Run

Floats = NDArray[np.float64]
QUANTILES = (0.05, 0.5, 0.95)
LOOKAHEAD = 12  # remaining steps at which early stopping looks
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
        one = None if steps is None else [steps], None if at is None else [at]
        return self.extrapolate_many([y], *one, quantiles)[0]

    def extrapolate_many(
        self,
        ys: Sequence[ArrayLike],
        steps: Sequence[ArrayLike | None] | None = None,
        at: Sequence[ArrayLike | None] | None = None,
        quantiles: ArrayLike = QUANTILES,
    ) -> list[Posterior]:
        """Extrapolate many curves in shared batches.

        Arguments and errors are those of ``extrapolate``, with one entry of ``ys``, ``steps`` and
        ``at`` for each curve.
        """
        for name, lists in (("steps", steps), ("at", at)):
            if lists is not None and len(lists) != len(ys):
                raise InvalidInput(f"{len(ys)} curves need as many of {name}, not {len(lists)}")
        none = [None] * len(ys)
        requests = [
            self._request(y, when, ahead, quantiles)
            for y, when, ahead in zip(ys, steps or none, at or none, strict=True)
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


def forecasts(
    extrapolator: CurveExtrapolator, runs: Sequence[Run], checks: Callable[[Run], Sequence[int]]
) -> Callable[[Run, int], Posterior]:
    """What ``extrapolator`` expects of each run at each check, computed together beforehand.

    Args:
        extrapolator: in the runs' units and direction.
        runs: of one sweep.
        checks: see ``foretoken.stopping.replay``.

    Returns:
        A function for ``foretoken.stopping.Predictive``: the posterior over at most ``LOOKAHEAD``
        of a run's remaining steps, evenly spread, the last among them.
    """
    asked = [(run, n) for run in runs for n in checks(run) if n < len(run.steps)]
    known = extrapolator.extrapolate_many(
        [run.values[:n] for run, n in asked],
        [run.steps[:n] for run, n in asked],
        [_spread(run.steps[n:]) for run, n in asked],
    )
    table = {(run.name, n): posterior for (run, n), posterior in zip(asked, known, strict=True)}
    return lambda run, n: table[run.name, n]


def _spread(steps: Floats) -> Floats:
    kept = np.linspace(0, len(steps) - 1, min(len(steps), LOOKAHEAD)).round().astype(int)
    spread: Floats = steps[kept]
    return spread


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
