"""Learning curves, extrapolated in the caller's own process or by a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.arrays import floats
from foretoken.errors import InvalidInput
from foretoken.posterior import QUANTILES, Posterior
from foretoken.stopping import Run

# Neither a server's packages nor gRPC are needed for the other way of answering.
if TYPE_CHECKING:
    from foretoken.client import Client
    from foretoken.models.tasks import CurveRequest

Floats = NDArray[np.float64]
LOOKAHEAD = 12  # remaining steps at which early stopping looks


class CurveExtrapolator:
    """Extrapolates learning curves, in the caller's own units and direction.

    Args:
        model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
        server: None answers in this process; else a server's "host:port", or a ``foretoken.Client``
            with a token or TLS.
        minimize: whether lower is better.
        bounds: hard limits of the metric; either may be infinite.
        soft_bounds: range in which values are told apart best; needed by nothing, and the default
            is taken from the values when a bound is infinite.
        data_dir: of the registry in this process; the default is that of the command line.

    Raises:
        InvalidInput: if ``server`` is no address, or there is a data dir beside it.
    """

    def __init__(
        self,
        model: str = "lcpfn",
        server: str | Client | None = None,
        minimize: bool = False,
        bounds: tuple[float, float] = (0.0, 1.0),
        soft_bounds: tuple[float, float] | None = None,
        *,
        data_dir: Path | None = None,
    ) -> None:
        if server is not None and data_dir is not None:
            raise InvalidInput("data_dir is this process's own; a server has its registry itself")
        self.model = model
        self.server = server
        self.minimize = minimize
        self.bounds = bounds
        self.soft_bounds = soft_bounds
        self.data_dir = data_dir
        if isinstance(server, str):
            _ = self._client  # refuses what is no address

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
            ForetokenError: what else ``foretoken.Client`` raises, if a server answers.
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
        if self.server is None:
            return self._locally(ys, steps, at, quantiles)
        return self._client.extrapolate_many(
            self.model,
            ys,
            steps,
            at,
            quantiles,
            minimize=self.minimize,
            bounds=self.bounds,
            soft_bounds=self.soft_bounds,
        )

    def _locally(
        self,
        ys: Sequence[ArrayLike],
        steps: Sequence[ArrayLike | None] | None,
        at: Sequence[ArrayLike | None] | None,
        quantiles: ArrayLike,
    ) -> list[Posterior]:
        from foretoken.server.app import local_plane  # noqa: PLC0415
        from foretoken.server.settings import load_settings  # noqa: PLC0415

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
        from foretoken.models.tasks import CurveRequest, following  # noqa: PLC0415

        values = floats("y", y)
        when = np.arange(1.0, values.size + 1) if steps is None else floats("steps", steps)
        return CurveRequest(
            values=values,
            steps=when,
            at=following(when) if at is None else floats("at", at),
            quantiles=floats("quantiles", quantiles),
            minimize=self.minimize,
            bounds=self.bounds,
            soft_bounds=self.soft_bounds,
        )

    @cached_property
    def _client(self) -> Client:
        from foretoken.client import Client  # noqa: PLC0415

        return self.server if isinstance(self.server, Client) else Client(str(self.server))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_client"}


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
